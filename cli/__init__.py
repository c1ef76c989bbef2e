"""The `beckon` command: a caller of the public APIs like any other, and the keeper of a stack."""
