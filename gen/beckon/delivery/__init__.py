"""Generated from protos/ by `make gen`. Never edited."""
