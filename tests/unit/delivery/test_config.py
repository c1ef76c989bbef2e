"""Makes sure that the address of the mail relay means what it says."""

import pytest

from services.delivery.config import SmtpServer, smtp_server


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail", SmtpServer("mail", 25, tls=False, starttls=None, user="")),
        ("smtp://ana@mail:2525", SmtpServer("mail", 2525, tls=False, starttls=True, user="ana")),
        ("smtp+starttls://mail", SmtpServer("mail", 587, tls=False, starttls=True, user="")),
        ("smtps://ana%40x@mail", SmtpServer("mail", 465, tls=True, starttls=False, user="ana@x")),
    ],
)
def test_a_password_is_never_sent_in_the_clear(url: str, server: SmtpServer) -> None:
    assert smtp_server(url) == server


@pytest.mark.parametrize("url", ["mail", "http://mail", "smtp://", "smtp://mail/box"])
def test_what_is_no_relay_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected smtp://"):
        smtp_server(url)


def test_a_password_in_the_address_is_refused() -> None:
    with pytest.raises(ValueError, match="DELIVERY_SMTP_PASSWORD_FILE"):
        smtp_server("smtp://ana:secret@mail")
