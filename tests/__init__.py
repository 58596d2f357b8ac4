"""The tests of the course; ``benchmarks`` are beside them but are no tests."""
