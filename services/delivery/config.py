"""Every setting of delivery, its default and its reason."""

import ssl
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import unquote, urlsplit

from mesh.settings import (
    ServerSettings,
    TelemetrySettings,
    address,
    integer,
    seconds,
    server_settings,
    setting,
    size,
    telemetry_settings,
    text,
)
from services.delivery.model import ATTEMPTS_LEAST, AllowedHost, RetryPolicy
from services.delivery.render import RenderLimits
from services.delivery.rules import parse_allowed

_SMTP_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """The relay that takes our mail."""

    host: str
    port: int
    tls: bool
    """Encrypted from the first byte."""
    starttls: bool | None
    """Encrypted after STARTTLS; None: where the server offers it."""
    user: str


def smtp_server(value: str) -> SmtpServer:
    """Read `smtp://user@host:port`, `smtp+starttls://…` or `smtps://…`."""
    parts = urlsplit(value)
    if parts.scheme not in _SMTP_PORTS or not parts.hostname or parts.path not in {"", "/"}:
        message = "expected smtp://, smtp+starttls:// or smtps:// with [user@]host[:port]"
        raise ValueError(message)
    if parts.password is not None:
        message = "the password belongs in DELIVERY_SMTP_PASSWORD_FILE, not in the URL"
        raise ValueError(message)
    # Whoever sits between could hide the offer: with a password at stake it is insisted on.
    offered = True if parts.username else None
    return SmtpServer(
        host=parts.hostname,
        port=parts.port or _SMTP_PORTS[parts.scheme],
        tls=parts.scheme == "smtps",
        starttls={"smtp": offered, "smtp+starttls": True, "smtps": False}[parts.scheme],
        user=unquote(parts.username or ""),
    )


def allowed_hosts(value: str) -> tuple[AllowedHost, ...]:
    """Read a list of allowed hosts."""
    return tuple(parse_allowed(entry) for entry in value.replace(",", " ").split())


def authorities(value: str) -> ssl.SSLContext:
    """Read a PEM file; what it certifies is trusted, and what the system trusts."""
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(cafile=value)
    except OSError as error:
        message = f"expected a file with certificates in PEM, got {value!r}"
        raise ValueError(message) from error
    return context


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the delivery service must be told."""

    server: ServerSettings = server_settings("DELIVERY", port=50055)
    telemetry: TelemetrySettings = telemetry_settings()
    database_url: str = setting(
        "DELIVERY_DATABASE_URL", text, secret=True, doc="PostgreSQL holding queue and templates"
    )
    database_connections: int = setting(
        "DELIVERY_DATABASE_CONNECTIONS",
        integer(least=2, most=100),
        default=8,
        doc="Most connections to PostgreSQL at once",
    )
    key: str = setting("DELIVERY_KEY", text, secret=True, doc="With which delivery calls its peers")
    profile_target: str = setting(
        "DELIVERY_PROFILE_TARGET", address, default="127.0.0.1:50052", doc="Where profile is"
    )
    throttle_target: str = setting(
        "DELIVERY_THROTTLE_TARGET", address, default="127.0.0.1:50054", doc="Where throttle is"
    )
    ingest_target: str = setting(
        "DELIVERY_INGEST_TARGET", address, default="127.0.0.1:50051", doc="Where ingest is"
    )
    smtp: SmtpServer = setting(
        "DELIVERY_SMTP_URL",
        smtp_server,
        default=SmtpServer("127.0.0.1", 25, tls=False, starttls=None, user=""),
        doc="The relay that takes mail: smtp://[user@]host[:port], smtp+starttls:// insists on"
        " STARTTLS (as smtp:// does with a user), smtps:// is TLS from the start",
    )
    smtp_password: str = setting(
        "DELIVERY_SMTP_PASSWORD", text, default="", secret=True, doc="Password of the SMTP user"
    )
    smtp_authorities: ssl.SSLContext | None = setting(
        "DELIVERY_SMTP_CA_FILE",
        authorities,
        default=None,
        doc="Certificates (PEM) of authorities that may vouch for the relay, besides the system's",
    )
    smtp_timeout: timedelta = setting(
        "DELIVERY_SMTP_TIMEOUT_SECONDS",
        seconds,
        default=timedelta(seconds=30),
        doc="How long the relay may take for one mail",
    )
    smtp_connections: int = setting(
        "DELIVERY_SMTP_CONNECTIONS",
        integer(least=1, most=200),
        default=8,
        doc="Most mails in flight at once, each on a connection that is kept",
    )
    email_sender: str = setting(
        "DELIVERY_EMAIL_SENDER",
        text,
        default="Beckon <beckon@localhost>",
        doc="From, where a template names no sender: `Name <address>`",
    )
    webhook_allowed_hosts: tuple[AllowedHost, ...] = setting(
        "DELIVERY_WEBHOOK_ALLOWED_HOSTS",
        allowed_hosts,
        default=(),
        doc="Hosts webhooks may go to, by comma: host, host:port, *.suffix; `*` is every host at a"
        " public address. Private addresses only where an entry names host or suffix. None: no"
        " webhooks",
    )
    webhook_authorities: ssl.SSLContext | None = setting(
        "DELIVERY_WEBHOOK_CA_FILE",
        authorities,
        default=None,
        doc="Certificates (PEM) of authorities that may vouch for webhooks' hosts, besides the"
        " system's",
    )
    webhook_timeout: timedelta = setting(
        "DELIVERY_WEBHOOK_TIMEOUT_SECONDS",
        seconds,
        default=timedelta(seconds=10),
        doc="How long a webhook's host may take to answer",
    )
    webhook_connections: int = setting(
        "DELIVERY_WEBHOOK_CONNECTIONS",
        integer(least=1, most=1000),
        default=32,
        doc="Most webhooks in flight at once to one host",
    )
    lease: timedelta = setting(
        "DELIVERY_LEASE_SECONDS",
        seconds,
        default=timedelta(seconds=30),
        doc="How long a worker owns a delivery before another may take it; at least twice the"
        " channel's timeout is given in any case",
    )
    poll: timedelta = setting(
        "DELIVERY_POLL_SECONDS",
        seconds,
        default=timedelta(seconds=1),
        doc="How often to look for retries that are due and for work of processes that died",
    )
    held_max: int = setting(
        "DELIVERY_HELD_MAX",
        integer(least=10, most=100_000),
        default=4000,
        doc="Most deliveries of one channel in this process's hands; others wait in the queue",
    )
    attempts_max: int = setting(
        "DELIVERY_ATTEMPTS_MAX",
        integer(least=ATTEMPTS_LEAST, most=100),
        default=12,
        doc="Tries at a provider until a delivery is a dead letter",
    )
    retry_first: timedelta = setting(
        "DELIVERY_RETRY_FIRST_SECONDS",
        seconds,
        default=timedelta(seconds=5),
        doc="Pause after the first failed try; doubles with each",
    )
    retry_longest: timedelta = setting(
        "DELIVERY_RETRY_LONGEST_SECONDS",
        seconds,
        default=timedelta(hours=1),
        doc="Longest pause between two tries",
    )
    retention: timedelta = setting(
        "DELIVERY_RETENTION",
        seconds,
        default=timedelta(days=30),
        doc="How long finished deliveries are kept; a repeat of a create after that would send"
        " anew, so more than the longest delay of a campaign",
    )
    render_cpu: timedelta = setting(
        "DELIVERY_RENDER_CPU_SECONDS",
        seconds,
        default=timedelta(seconds=1),
        doc="Of a processor, for rendering a message: beyond it the template is too costly",
    )
    render_memory_bytes: int = setting(
        "DELIVERY_RENDER_MEMORY_BYTES",
        size,
        default=512 << 20,
        doc="Address space of the process that renders",
    )
    part_bytes_max: int = setting(
        "DELIVERY_PART_BYTES_MAX",
        size,
        default=1 << 20,
        doc="Largest rendered subject, text, HTML or body",
    )

    def __post_init__(self) -> None:
        """Hold settings against each other."""
        if self.retry_first > self.retry_longest or not self.retry_first:
            message = "DELIVERY_RETRY_FIRST_SECONDS: must be above 0 and at most the longest pause"
            raise ValueError(message)

    def lease_of(self, timeout: timedelta) -> timedelta:
        """How long a worker owns a delivery whose provider may take `timeout`."""
        return max(self.lease, 2 * timeout)

    @property
    def policy(self) -> RetryPolicy:
        """How often and how long to try."""
        return RetryPolicy(self.attempts_max, self.retry_first, self.retry_longest)

    @property
    def trial_limits(self) -> RenderLimits:
        """What a template on trial may take: with hardly any data it must do with half."""
        return replace(self.render_limits, cpu=self.render_cpu / 2)

    @property
    def render_limits(self) -> RenderLimits:
        """What rendering may take."""
        return RenderLimits(
            cpu=self.render_cpu,
            memory_bytes=self.render_memory_bytes,
            output_bytes=self.part_bytes_max,
        )
