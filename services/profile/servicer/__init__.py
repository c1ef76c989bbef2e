"""What profile can be asked."""

from services.profile.servicer.observation import ObservationServicer

__all__ = ["ObservationServicer"]
