"""What a notebook is: cells, exercises, names, values."""
