"""What profile does unasked."""

from services.profile.worker.housekeeping import Housekeeper

__all__ = ["Housekeeper"]
