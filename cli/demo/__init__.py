"""The demonstration: real orders in, messages out, counted against what they should have been."""
