"""Tables and pages that derive from a journal."""
