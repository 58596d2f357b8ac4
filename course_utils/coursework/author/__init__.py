"""From source notebooks to outputs and releases."""
