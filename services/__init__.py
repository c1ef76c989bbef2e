"""The five services. They meet only over gRPC."""
