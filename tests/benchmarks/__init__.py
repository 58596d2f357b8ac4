"""How fast the course is beside its peers: ``make bench``. Nothing here is a test."""
