"""Devices: whose they are, whose they were, and where to push to."""

from services.profile.store.devices.books import LATEST, Devices
from services.profile.store.devices.following import erase, reassign
from services.profile.store.devices.rows import read_devices

__all__ = ["LATEST", "Devices", "erase", "read_devices", "reassign"]
