"""Writes mails: bytes ready for DATA, with nothing that could be taken for another header."""

import re
from binascii import b2a_base64
from datetime import datetime
from email.utils import format_datetime, formataddr, parseaddr
from functools import lru_cache

from services.delivery.providers.provider import Email

# RFC 5322: what a line may hold at most, its end aside.
_LINE_MAX = 998
# Longer ones are written as encoded words, which can be folded.
_SUBJECT_PLAIN_MAX = 900
# An encoded word is at most 75 characters; 45 bytes make 60 in base64.
_WORD_BYTES = 45
_BASE64_LINE = 57

_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_ADDRESS = re.compile(
    r"[^\s\x00-\x1f\x7f<>(),;:\\\"\[\]@]{1,64}@[^\s\x00-\x1f\x7f<>(),;:\\\"@]{1,253}"
)


class BadAddress(ValueError):
    """Not an address mail can go to. Says nothing of what it is."""


class Mailbox:
    """An address as SMTP and headers want it; with a name only where `named`."""

    __slots__ = ("address", "header", "utf8")

    def __init__(self, text: str, *, named: bool = False) -> None:
        """Read `address`, or where `named` also `Name <address>`."""
        name, address = parseaddr(text) if named and "<" in text else ("", text)
        if not text.isprintable() or not _ADDRESS.fullmatch(address):
            raise BadAddress
        local, _, domain = address.rpartition("@")
        if not domain.isascii():
            try:
                domain = domain.encode("idna").decode()
            except UnicodeError:
                raise BadAddress from None
        self.address = f"{local}@{domain}"
        # Only what stands before the @ needs an extension of the server.
        self.utf8 = not local.isascii()
        plain = " ".join(name.split())
        # The name is encoded where it is not ASCII; the address stays as it is.
        self.header = (
            formataddr((plain, "@")).removesuffix("<@>") + f"<{self.address}>"
            if plain
            else f"<{self.address}>"
        )


@lru_cache(maxsize=1000)
def sender_of(text: str) -> Mailbox:
    """Return a sender; there are few."""
    return Mailbox(text, named=True)


@lru_cache(maxsize=8)
def _date(second: datetime) -> str:
    return format_datetime(second)


def message_id(delivery_id: str, sender: Mailbox) -> str:
    """Return the same id for every try of a delivery."""
    return f"<{delivery_id}@{sender.address.rpartition('@')[2]}>"


def write(email: Email, *, sender: Mailbox, recipient: Mailbox, now: datetime) -> bytes:
    """Return the mail, its lines ended and its dots doubled, up to and with the final dot."""
    head = (
        f"From: {sender.header}\r\n"
        f"To: {recipient.header}\r\n"
        f"Subject: {_subject(email.subject)}\r\n"
        f"Date: {_date(now.replace(microsecond=0))}\r\n"
        f"Message-ID: {message_id(email.delivery_id, sender)}\r\n"
        "MIME-Version: 1.0\r\n"
    ).encode()
    if not email.html:
        return _stuffed(head + _part("plain", email.text)) + b".\r\n"
    boundary = f"=_{email.delivery_id}"
    content = (
        f'Content-Type: multipart/alternative; boundary="{boundary}"\r\n\r\n--{boundary}\r\n'
    ).encode()
    middle, end = f"\r\n--{boundary}\r\n".encode(), f"\r\n--{boundary}--\r\n".encode()
    return (
        _stuffed(
            head + content + _part("plain", email.text) + middle + _part("html", email.html) + end
        )
        + b".\r\n"
    )


def _stuffed(content: bytes) -> bytes:
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    return content.replace(b"\r\n.", b"\r\n..") if b"\r\n." in content else content


def _part(kind: str, text: str) -> bytes:
    if text.isascii() and "\0" not in text:
        lines = text.replace("\r\n", "\n").replace("\r", "\n")
        if len(lines) <= _LINE_MAX or max(map(len, lines.split("\n"))) <= _LINE_MAX:
            body = lines.replace("\n", "\r\n")
            return (
                f"Content-Type: text/{kind}; charset=us-ascii\r\n"
                f"Content-Transfer-Encoding: 7bit\r\n\r\n{body}"
            ).encode()
    head = f"Content-Type: text/{kind}; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    return head.encode() + _base64(text.encode("utf-8", "replace"))


def _base64(content: bytes) -> bytes:
    return b"\r\n".join(
        b2a_base64(content[start : start + _BASE64_LINE], newline=False)
        for start in range(0, len(content), _BASE64_LINE)
    )


def _subject(subject: str) -> str:
    if len(subject) <= _SUBJECT_PLAIN_MAX and _PRINTABLE.fullmatch(subject) and "=?" not in subject:
        return subject
    words, word = [], b""
    for character in subject:
        encoded = character.encode("utf-8", "replace")
        if len(word) + len(encoded) > _WORD_BYTES:
            words.append(word)
            word = b""
        word += encoded
    words.append(word)
    return "\r\n ".join(f"=?utf-8?b?{b2a_base64(each, newline=False).decode()}?=" for each in words)
