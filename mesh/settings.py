"""Settings: a frozen dataclass out of the environment, with all problems at once."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, cast, get_type_hints, overload

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_T = TypeVar("_T")
_C = TypeVar("_C", bound="DataclassInstance")


class _Required:
    """Marks a setting without a default; `None` is a default."""


_REQUIRED: Final = _Required()
_KEY: Final = "beckon.setting"


class BadSettings(Exception):
    """What the environment says cannot be used; names every problem."""

    def __init__(self, problems: list[str]) -> None:
        """Take the problems, each a sentence that names its variable."""
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable of the environment."""

    env: str
    doc: str
    default: object
    """What it is when unset; an instance of no use when `required`."""
    required: bool
    secret: bool
    parse: Callable[[str], object]


@dataclass(frozen=True, slots=True)
class _Group:
    prefix: str
    defaults: Mapping[str, object]


@overload
def setting(env: str, parse: Callable[[str], _T], *, doc: str, secret: bool = ...) -> _T: ...
@overload
def setting(
    env: str, parse: Callable[[str], _T], *, default: _T, doc: str, secret: bool = ...
) -> _T: ...
def setting(
    env: str,
    parse: Callable[[str], _T],
    *,
    default: _T | _Required = _REQUIRED,
    doc: str,
    secret: bool = False,
) -> _T:
    """Declare a field that is read from `env`.

    A secret is read from the file that `{env}_FILE` names, or from `env` itself,
    and is left out of the repr. `{prefix}` in `env` is that of the group.
    """
    declared = Setting(
        env=env,
        doc=doc,
        default=default,
        required=isinstance(default, _Required),
        secret=secret,
        parse=parse,
    )
    made: object = (
        field(metadata={_KEY: declared}, repr=not secret)
        if isinstance(default, _Required)
        else field(default=default, metadata={_KEY: declared}, repr=not secret)
    )
    # What `dataclasses.field` says of itself too: the class machinery replaces it.
    return cast("_T", made)


def group(cls: type[_C], *, prefix: str, **defaults: object) -> _C:
    """Declare a field that is itself a dataclass of settings, under a prefix."""
    made = field(metadata={_KEY: _Group(prefix, {**defaults, "prefix": prefix})})
    del cls  # only for the type checker: the annotation says it again
    return cast("_C", made)


def load(cls: type[_C], environ: Mapping[str, str]) -> _C:
    """Return the settings that `environ` describes.

    Raises:
        BadSettings: Naming every variable that is missing or cannot be read.
    """
    problems: list[str] = []
    loaded = _load(cls, environ, _Group("", {}), problems)
    if problems or loaded is None:
        raise BadSettings(problems)
    return loaded


def settings_of(cls: "type[DataclassInstance]", *, prefix: str = "") -> Iterator[Setting]:
    """Yield every setting of the class with its groups, for the documentation."""
    return _settings_of(cls, _Group(prefix, {}))


def _settings_of(cls: "type[DataclassInstance]", within: _Group) -> Iterator[Setting]:
    hints = get_type_hints(cls)
    for each in fields(cls):
        declared = each.metadata.get(_KEY)
        if isinstance(declared, _Group):
            yield from _settings_of(hints[each.name], declared)
        elif isinstance(declared, Setting):
            given = each.name in within.defaults
            yield Setting(
                env=declared.env.format(prefix=within.prefix),
                doc=declared.doc,
                default=within.defaults[each.name] if given else declared.default,
                required=declared.required and not given,
                secret=declared.secret,
                parse=declared.parse,
            )


def _load(
    cls: type[_C], environ: Mapping[str, str], within: _Group, problems: list[str]
) -> _C | None:
    hints = get_type_hints(cls)
    values: dict[str, object] = {}
    before = len(problems)
    for each in fields(cls):
        declared = each.metadata.get(_KEY)
        if isinstance(declared, _Group):
            values[each.name] = _load(hints[each.name], environ, declared, problems)
        elif isinstance(declared, Setting):
            try:
                values[each.name] = _read(declared, each.name, environ, within)
            except ValueError as error:
                problems.append(str(error))
        elif each.name in within.defaults:
            values[each.name] = within.defaults[each.name]
        elif each.default is MISSING and each.default_factory is MISSING:
            problems.append(f"{cls.__name__}.{each.name} is not a setting")
    if len(problems) > before:
        return None
    try:
        return cls(**values)
    except ValueError as error:
        # A check between fields, from __post_init__.
        problems.append(str(error))
        return None


def _read(declared: Setting, name: str, environ: Mapping[str, str], within: _Group) -> object:
    env = declared.env.format(prefix=within.prefix)
    text, source = _text_of(env, environ, secret=declared.secret)
    if text is None:
        if name in within.defaults:
            return within.defaults[name]
        if declared.required:
            also = f" (nor {env}_FILE)" if declared.secret else ""
            message = f"{env} is not set{also} ({declared.doc})"
            raise ValueError(message)
        return declared.default
    try:
        return declared.parse(text)
    except ValueError as error:
        # The value of a secret must not reach a log, nor the text of a parser quoting it.
        message = f"{source}: {'cannot be read' if declared.secret else error}"
        raise ValueError(message) from None


def _text_of(env: str, environ: Mapping[str, str], *, secret: bool) -> tuple[str | None, str]:
    path = environ.get(f"{env}_FILE") if secret else None
    if path:
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n"), f"{env}_FILE"
        except (OSError, UnicodeDecodeError) as error:
            message = f"{env}_FILE: cannot read {path}: {type(error).__name__}"
            raise ValueError(message) from error
    # A variable that is set to nothing is not set: manifests cannot unset.
    return environ.get(env) or None, env


# Parsers. Each raises ValueError with what would be right.


def text(value: str) -> str:
    """Return the text without surrounding space."""
    return value.strip()


def boolean(value: str) -> bool:
    """Return true, false, 1, 0, yes, no, on or off as a bool."""
    word = value.strip().lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off"}:
        return False
    message = f"expected true or false, got {value!r}"
    raise ValueError(message)


def integer(*, least: int = 0, most: int = 2**31 - 1) -> Callable[[str], int]:
    """Return a parser of whole numbers within bounds."""

    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            message = f"expected a whole number from {least} to {most}, got {value!r}"
            raise ValueError(message)
        return number

    return parse


def ratio(value: str) -> float:
    """Return a number from 0 to 1."""
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0.0 <= number <= 1.0:
        message = f"expected a number from 0 to 1, got {value!r}"
        raise ValueError(message)
    return number


_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)\s*")


def seconds(value: str) -> timedelta:
    """Return a span of time: `30`, `1.5`, `200ms`, `2m`, `12h`, `7d`; seconds without a unit."""
    match = _SPAN.fullmatch(value)
    if match is None:
        message = f"expected seconds, or a number with ms, s, m, h or d, got {value!r}"
        raise ValueError(message)
    try:
        return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    except OverflowError:
        message = f"is too long: {value!r}"
        raise ValueError(message) from None


_SIZES = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"\s*(\d+)\s*(KiB|MiB|GiB|)\s*")


def size(value: str) -> int:
    """Return a number of bytes: `4096`, `64KiB`, `4MiB`, `1GiB`."""
    match = _SIZE.fullmatch(value)
    if match is None:
        message = f"expected bytes, or a number with KiB, MiB or GiB, got {value!r}"
        raise ValueError(message)
    return int(match[1]) * _SIZES[match[2]]


_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})")


def address(value: str) -> str:
    """Return `host:port` or `[v6]:port`, checked; port 0 lets the system choose."""
    match = _ADDRESS.fullmatch(value.strip())
    if match is None or int(match[1]) > 65535:  # noqa: PLR2004 — the largest port
        message = f"expected host:port, got {value!r}"
        raise ValueError(message)
    return value.strip()


def optional_address(value: str) -> str:
    """Return an address, or '' for `off`."""
    return "" if value.strip() in {"", "off"} else address(value)


def one_of(*words: str) -> Callable[[str], str]:
    """Return a parser that takes these words only, in lower case."""

    def parse(value: str) -> str:
        word = value.strip().lower()
        if word not in words:
            message = f"expected one of {', '.join(words)}, got {value!r}"
            raise ValueError(message)
        return word

    return parse


def path(value: str) -> Path:
    """Return the path."""
    return Path(value)


def _metrics_address_of(port: int) -> str:
    return f"127.0.0.1:{port + 100}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What every serving process must be told."""

    prefix: str = ""
    """Of the variables, so that an error can name the one to change."""
    address: str = setting(
        "{prefix}_ADDRESS", address, default="127.0.0.1:0", doc="Where to listen for gRPC"
    )
    metrics_address: str = setting(
        "{prefix}_METRICS_ADDRESS",
        optional_address,
        default="",
        doc="Where Prometheus reads metrics; `off` serves none",
    )
    keys_file: Path = setting(
        "BECKON_KEYS_FILE",
        path,
        doc="JSON list of callers: sha256 of the key, workspaces and scopes of each",
    )
    message_bytes_max: int = setting(
        "BECKON_MESSAGE_BYTES_MAX",
        size,
        default=4 << 20,
        doc="Largest request message; a larger one ends in RESOURCE_EXHAUSTED",
    )
    drain: timedelta = setting(
        "BECKON_DRAIN_SECONDS",
        seconds,
        default=timedelta(seconds=2),
        doc="How long to go on taking calls after saying NOT_SERVING, while balancers notice",
    )
    grace: timedelta = setting(
        "BECKON_GRACE_SECONDS",
        seconds,
        default=timedelta(seconds=20),
        doc="How long running calls, and then workers, may take to finish at the end",
    )
    connection_age_max: timedelta = setting(
        "BECKON_CONNECTION_AGE_SECONDS",
        seconds,
        default=timedelta(minutes=10),
        doc="After how long a client must connect anew, so that load spreads to new servers",
    )
    health_interval: timedelta = setting(
        "BECKON_HEALTH_SECONDS",
        seconds,
        default=timedelta(seconds=1),
        doc="How often dependencies are asked, and how long each may take to answer",
    )
    health_misses: int = setting(
        "BECKON_HEALTH_MISSES",
        integer(least=1, most=100),
        default=2,
        doc="Failed checks in a row until health says NOT_SERVING",
    )
    uvloop: bool = setting(
        "BECKON_UVLOOP", boolean, default=True, doc="Run on uvloop instead of asyncio's own loop"
    )


def server_settings(prefix: str, *, port: int) -> ServerSettings:
    """Declare the server's group of a service, with its usual ports."""
    return group(
        ServerSettings,
        prefix=prefix,
        address=f"127.0.0.1:{port}",
        metrics_address=_metrics_address_of(port),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySettings:
    """What logs and traces must be told."""

    prefix: str = ""
    log_level: str = setting(
        "BECKON_LOG_LEVEL",
        one_of("debug", "info", "warning", "error"),
        default="info",
        doc="Least level that is logged",
    )
    log_format: str = setting(
        "BECKON_LOG_FORMAT",
        one_of("auto", "json", "console"),
        default="auto",
        doc="`auto` is console on a terminal and JSON elsewhere",
    )
    otlp_endpoint: str = setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        text,
        default="",
        doc="Where spans are sent by OTLP over gRPC; unset sends none",
    )
    trace_ratio: float = setting(
        "BECKON_TRACE_RATIO",
        ratio,
        default=0.01,
        doc="Share of traces that are recorded when the caller brings no decision",
    )


def telemetry_settings() -> TelemetrySettings:
    """Declare the group of logs and traces."""
    return group(TelemetrySettings, prefix="BECKON")
