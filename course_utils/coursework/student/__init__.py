"""A student's work folder, and checks of it."""
