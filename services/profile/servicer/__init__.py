"""What profile can be asked."""

from services.profile.servicer.observation import ObservationServicer
from services.profile.servicer.profile import ProfileServicer

__all__ = ["ObservationServicer", "ProfileServicer"]
