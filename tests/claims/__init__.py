"""What the notebooks claim in words, tested on several seeds: one test for each claim, named after its cell."""
