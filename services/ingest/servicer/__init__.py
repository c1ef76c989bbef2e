"""The RPCs of ingest."""

from services.ingest.servicer.ingest import IngestServicer

__all__ = ["IngestServicer"]
