"""What goes over the pipe to the rendering child and back."""

from enum import StrEnum
from hashlib import blake2b

import msgspec

from services.delivery.model import Source

OUT_OF_MEMORY = 3
"""With what the child ends when not even a message can be given up singly."""


class Fault(StrEnum):
    """Why a template gave no text. Stands in `Delivery.error`."""

    TEMPLATE_INVALID = "TEMPLATE_INVALID"
    TEMPLATE_TOO_COSTLY = "TEMPLATE_TOO_COSTLY"
    DATA_MISSING = "DATA_MISSING"
    DATA_INVALID = "DATA_INVALID"
    BODY_NOT_JSON = "BODY_NOT_JSON"
    TOO_LARGE = "TOO_LARGE"
    RENDER_FAILED = "RENDER_FAILED"


class Texts(msgspec.Struct, array_like=True, frozen=True):
    """A template's sources that are rendered."""

    subject: str
    text: str
    html: str
    body: str
    defaults_json: bytes


class Work(msgspec.Struct, array_like=True):
    """One message to be rendered."""

    template: str
    """Key of its source."""
    channel: int
    """0 renders every part."""
    delivery: str
    campaign: str
    data: bytes


class Job(msgspec.Struct, array_like=True):
    """One turn of the child."""

    cpu_seconds: float
    """What it may use of a processor; it dies of more."""
    texts: dict[str, Texts]
    """Sources that the child has not seen yet."""
    forget: bool = False
    """Drop all sources seen before."""
    works: list[Work] = []
    lint: bool = False
    """Look for mistakes in `texts` instead of rendering."""


class Rendered(msgspec.Struct, array_like=True):
    """A message's texts, or why there are none."""

    subject: str = ""
    text: str = ""
    html: str = ""
    body: str = ""
    fault: str = ""
    detail: str = ""
    """The missing path, the line, the size: nothing of the content."""


class Finding(msgspec.Struct, array_like=True):
    """One mistake in a template."""

    part: str
    """`email.subject`."""
    line: int
    problem: str
    variables: list[str] = []
    costly: bool = False


class Reply(msgspec.Struct, array_like=True):
    """What a turn gave."""

    rendered: list[Rendered]
    findings: list[Finding]
    wall_ns: int = 0
    """Wall time of the turn."""


def texts_of(source: Source) -> Texts:
    """Return what the child needs of a source."""
    return Texts(source.subject, source.text, source.html, source.body, source.defaults_json)


def source_key(source: Source) -> str:
    """Return the key of a source: equal texts are compiled once."""
    digest = blake2b(digest_size=16)
    for part in (source.subject, source.text, source.html, source.body):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big"))
        digest.update(encoded)
    digest.update(source.defaults_json)
    return digest.hexdigest()
