"""Campaigns, templates and caps as YAML files: read with places, checked, compared, written."""
