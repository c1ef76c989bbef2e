"""The plumbing that every service stands on; it knows no campaign."""
