"""Load for both sides, the sink that messages arrive at, and the measurement of what it cost."""
