"""Renders templates in a child process whose time and memory are bounded."""

from services.delivery.render.renderer import Renderer, RenderLimits, RenderUnavailable
from services.delivery.render.wire import Fault, Finding, Rendered, Work, source_key

__all__ = [
    "Fault",
    "Finding",
    "RenderLimits",
    "RenderUnavailable",
    "Rendered",
    "Renderer",
    "Work",
    "source_key",
]
