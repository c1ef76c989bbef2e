"""Scenario files: read with places, played by the simulator, reported as tests are."""
