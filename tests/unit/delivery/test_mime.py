"""Makes sure that a mail says what it should, whatever its parts hold, and never more."""

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.delivery.providers.mime import BadAddress, Mailbox, write
from services.delivery.providers.provider import Email

NOW = datetime(2026, 11, 22, 12, 0, 0, 5, tzinfo=UTC)
KEY = "6f0c2f6e-0000-5000-8000-000000000001"
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
# What rendering leaves of a subject: one line.
subjects = texts.map(lambda text: " ".join(text.split()))


def written(subject: str = "Hi", text: str = "Text", html: str = "") -> bytes:
    sender = Mailbox("Shöp <shop@example.com>", named=True)
    email = Email(KEY, "", "", subject, text, html)
    return write(email, sender=sender, recipient=Mailbox("ana@example.com"), now=NOW)


def read(content: bytes) -> EmailMessage:
    assert content.endswith(b"\r\n.\r\n")
    body = content[:-3].replace(b"\r\n..", b"\r\n.")
    return message_from_bytes(body, policy=policy.default)


def test_the_headers() -> None:
    mail = read(written())

    assert mail["From"] == "Shöp <shop@example.com>"
    assert mail["To"] == "ana@example.com"
    assert mail["Subject"] == "Hi"
    assert mail["Message-ID"] == f"<{KEY}@example.com>"
    assert mail["Date"] == "Sun, 22 Nov 2026 12:00:00 +0000"


@given(subject=subjects)
def test_a_subject_is_one_header_and_nothing_else(subject: str) -> None:
    mail = read(written(subject=subject))

    assert sorted(mail.keys()) == sorted(
        [
            "From",
            "To",
            "Subject",
            "Date",
            "Message-ID",
            "MIME-Version",
            "Content-Type",
            "Content-Transfer-Encoding",
        ]
    )


@given(subject=st.text("abcäöü€😀 ?=_", max_size=200).map(lambda text: " ".join(text.split())))
def test_a_subject_arrives_as_it_was(subject: str) -> None:
    assert read(written(subject=subject))["Subject"] == subject


@given(text=texts, html=texts)
def test_lines_are_never_longer_than_the_standard_allows(text: str, html: str) -> None:
    content = written(text=text * 10, html=html)

    assert all(len(line) <= 998 for line in content.split(b"\r\n"))
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert b"\r\n.\r\n" not in content[:-5]
    assert b"\0" not in content


@pytest.mark.parametrize(
    "text", ["", ".", "a\n.\nb", "..", "x" * 5000, "ä" * 900, "a\r\nb\rc", "Grüße, 😀", "nul\0"]
)
def test_a_text_arrives_as_it_was(text: str) -> None:
    mail = read(written(text=text))

    got, sent = (each.replace("\r\n", "\n") for each in (mail.get_content(), text))
    assert got.removesuffix("\n") in {sent, sent.replace("\r", "\n")}


def test_html_comes_beside_the_text() -> None:
    mail = read(written(text="Grüße", html="<p>Grüße</p>\n.\n"))

    assert mail.get_content_type() == "multipart/alternative"
    plain, html = mail.iter_parts()
    assert plain.get_content().strip() == "Grüße"
    assert html.get_content().strip() == "<p>Grüße</p>\n."


@pytest.mark.parametrize(
    "address",
    ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b\r\nBcc: x@y", "<a@b>", "a@b>", "a\0@b", "a,b@c"],
)
def test_a_bad_address_is_refused(address: str) -> None:
    with pytest.raises(BadAddress):
        Mailbox(address)


def test_a_sender_with_a_line_break_is_refused() -> None:
    with pytest.raises(BadAddress):
        Mailbox("Shop\r\nBcc: eve@example.com <shop@example.com>", named=True)
