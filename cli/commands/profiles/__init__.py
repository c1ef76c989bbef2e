"""`beckon profiles`: what is known of people. Each module adds its commands to the group."""

from cli.commands.profiles import erasing, exporting, identities, importing, reading, writing
from cli.commands.profiles.app import app
from cli.commands.profiles.writing import parse_attributes

__all__ = [
    "app",
    "erasing",
    "exporting",
    "identities",
    "importing",
    "parse_attributes",
    "reading",
    "writing",
]
