"""What runs in a student's kernel."""
