"""What every test has; fixtures of one folder live in that folder's own conftest."""

from hypothesis import HealthCheck, settings

# Two shared cores: how long an example takes says nothing about the code.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")
