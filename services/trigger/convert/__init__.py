"""Trigger's values on the wire and back."""
