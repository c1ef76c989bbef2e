"""Measurements of the mesh beside a bare server and beside a conventional stack doing the same job."""
