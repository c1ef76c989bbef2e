"""What happens around every call: one middleware a file, put in order by `mesh.server`."""
