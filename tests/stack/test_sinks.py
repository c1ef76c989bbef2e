"""Makes sure that a sink counts right, survives a kill with all it accepted, and misbehaves as told."""

import asyncio
import os
import smtplib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import aiosmtplib
import pytest
from aiohttp import ClientTimeout

from stack.ports import HOST, free_port, free_ports
from stack.ready import listens
from stack.sinks import faults, store
from stack.sinks.store import Counts
from stack.supervisor import Program

MAIL = (
    "From: shop@example.test\r\nTo: ada@example.test\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
    "Message-ID: <{id}@example.test>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello {id}\r\n"
)


async def test_a_request_is_recorded_as_it_came(tmp_path: Path) -> None:
    file = tmp_path / "webhooks.sqlite"

    async with webhook_sink(file) as url, aiohttp.ClientSession() as session:
        await post(session, f"{url}/orders", key="k1", body=b'{"order":1}')

    (found,) = store.list_webhooks(file, path="/orders")
    assert (found.method, found.path, found.idempotency_key) == ("POST", "/orders", "k1")
    assert found.body == '{"order":1}'
    assert found.headers["x-shop"] == "north"


async def test_a_repeat_is_counted_as_one_message(tmp_path: Path) -> None:
    file = tmp_path / "webhooks.sqlite"

    async with webhook_sink(file) as url, aiohttp.ClientSession() as session:
        for key in ("k1", "k2", "k1", "k1"):
            await post(session, url, key=key)

    assert store.count(file) == Counts(received=4, unique=2, refused=0)
    assert store.count(file).repeats == 2
    assert store.duplicates(file) == {"k1": 3}


async def test_what_was_answered_survives_a_kill_of_the_sink(tmp_path: Path) -> None:
    file = tmp_path / "webhooks.sqlite"
    answered = 0

    async with webhook_sink(file, kill_at_end=True) as url, aiohttp.ClientSession() as session:
        statuses = await asyncio.gather(*(post(session, url, key=f"k{n}") for n in range(200)))
        answered = statuses.count(200)

    assert answered == 200
    assert store.count(file).unique == 200


async def test_the_counting_mode_answers_counts_and_arrivals(tmp_path: Path) -> None:
    async with webhook_sink(None, log=tmp_path) as url, aiohttp.ClientSession() as session:
        for key in ("k1", "k2", "k1"):
            await post(session, url, key=key)

        async with session.get(f"{url}/_sink/counts") as answer:
            counts = await answer.json()
        async with session.get(f"{url}/_sink/arrivals") as answer:
            arrivals = await answer.json()
        await session.delete(f"{url}/_sink/arrivals")
        async with session.get(f"{url}/_sink/counts") as answer:
            after = await answer.json()

    assert counts == {"received": 3, "unique": 2, "refused": 0, "repeats": 1}
    assert set(arrivals) == {"k1", "k2"}
    assert arrivals["k1"] < arrivals["k2"]
    assert after["received"] == 0


async def test_a_refusal_says_when_to_come_again_and_counts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "webhooks.sqlite"
    rule = b'[{"kind":"refuse","status":429,"retry_after":2,"target":"/busy","times":1}]'

    async with webhook_sink(file) as url, aiohttp.ClientSession() as session:
        await session.put(f"{url}/_sink/faults", data=rule)
        other = await post(session, f"{url}/idle", key="k0")
        async with session.post(f"{url}/busy", headers={"Idempotency-Key": "k1"}) as refused:
            wait = refused.headers["Retry-After"]
        accepted = await post(session, f"{url}/busy", key="k1")

    assert (other, refused.status, wait, accepted) == (200, 429, "2", 200)
    assert store.count(file) == Counts(received=2, unique=2, refused=1)
    assert len(store.list_webhooks(file, refused=True)) == 3


async def test_a_dropped_reply_was_accepted(tmp_path: Path) -> None:
    file = tmp_path / "webhooks.sqlite"

    async with (
        webhook_sink(file, faults='[{"kind":"drop","times":1}]') as url,
        aiohttp.ClientSession() as session,
    ):
        with pytest.raises(aiohttp.ClientError):
            await post(session, url, key="k1")
        await post(session, url, key="k1")

    assert store.count(file) == Counts(received=2, unique=1, refused=0)


async def test_a_cut_connection_was_not_accepted(tmp_path: Path) -> None:
    file = tmp_path / "webhooks.sqlite"

    async with (
        webhook_sink(file, faults='[{"kind":"cut"}]') as url,
        aiohttp.ClientSession() as session,
    ):
        with pytest.raises(aiohttp.ClientError):
            await post(session, url, key="k1")

    assert store.count(file) == Counts(received=0, unique=0, refused=1)


async def test_a_stall_strikes_only_who_bears_the_header(tmp_path: Path) -> None:
    rule = '[{"kind":"stall","seconds":30,"header":"x-slow"}]'

    async with (
        webhook_sink(None, log=tmp_path, faults=rule) as url,
        aiohttp.ClientSession() as session,
    ):
        quick = await post(session, url, key="k1")
        slow = session.post(url, headers={"X-Slow": "1"}, timeout=ClientTimeout(total=0.3))
        with pytest.raises(TimeoutError):
            await slow

    assert quick == 200


@pytest.mark.parametrize(
    ("body", "named"), [(b'[{"kind":"melt"}]', "melt"), (b'[{"kind":"drop","tines":1}]', "tines")]
)
async def test_a_fault_that_is_none_is_refused_by_name(
    tmp_path: Path, body: bytes, named: str
) -> None:
    async with webhook_sink(None, log=tmp_path) as url, aiohttp.ClientSession() as session:
        answer = await session.put(f"{url}/_sink/faults", data=body)
        text = await answer.text()

    assert answer.status == 400
    assert named in text


def test_a_rate_strikes_about_that_share() -> None:
    sometimes = faults.Faults(faults.parse('[{"kind":"refuse","rate":0.25}]'))

    struck = sum(sometimes.strike(("/",), {}) is not None for _ in range(4000))

    assert 900 < struck < 1100


async def test_a_mail_is_recorded_as_a_person_would_read_it(tmp_path: Path) -> None:
    file = tmp_path / "mails.sqlite"

    async with mail_sink(file) as (port, _):
        await send(port, "one", to=["ada@example.test", "grace@example.test"])

    (found,) = store.list_mails(file, to="grace@example.test")
    assert found.sender == "shop@example.test"
    assert found.recipients == ("ada@example.test", "grace@example.test")
    assert found.subject == "Grüße"
    assert found.message_id == "<one@example.test>"
    assert found.body.strip() == "Hello one"
    assert store.list_mails(file, to="nobody@example.test") == []


async def test_a_mail_that_comes_twice_is_one_message(tmp_path: Path) -> None:
    file = tmp_path / "mails.sqlite"

    async with mail_sink(file) as (port, _):
        for name in ("one", "two", "one"):
            await send(port, name)

    assert store.count(file) == Counts(received=3, unique=2, refused=0)
    assert store.duplicates(file) == {"<one@example.test>": 2}


async def test_a_mail_is_refused_with_the_code_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "mails.sqlite"
    rule = (
        b'[{"kind":"refuse","status":451,"times":1},{"kind":"refuse","status":550,"target":"no"}]'
    )

    async with mail_sink(file) as (port, control), aiohttp.ClientSession() as session:
        await session.put(f"{control}/_sink/faults", data=rule)
        with pytest.raises(aiosmtplib.SMTPDataError) as later:
            await send(port, "one")
        await send(port, "one")
        with pytest.raises(aiosmtplib.SMTPDataError) as never:
            await send(port, "two", to=["nobody@example.test"])
        async with session.get(f"{control}/_sink/counts") as answer:
            counts = await answer.json()

    assert (later.value.code, never.value.code) == (451, 550)
    assert counts == {"received": 1, "unique": 1, "refused": 2, "repeats": 0}


async def test_a_mail_whose_reply_is_lost_was_accepted(tmp_path: Path) -> None:
    file = tmp_path / "mails.sqlite"

    async with mail_sink(file, faults='[{"kind":"drop","times":1}]') as (port, _):
        with pytest.raises(aiosmtplib.SMTPException):
            await send(port, "one")
        await send(port, "one")

    assert store.count(file) == Counts(received=2, unique=1, refused=0)


async def test_the_standard_library_can_talk_to_the_mail_sink(tmp_path: Path) -> None:
    file = tmp_path / "mails.sqlite"

    def talk(port: int) -> None:
        with smtplib.SMTP(HOST, port) as client:
            client.sendmail("a@example.test", ["b@example.test"], MAIL.format(id="one"))

    async with mail_sink(file) as (port, _):
        await asyncio.to_thread(talk, port)

    assert store.count(file).unique == 1


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"Subject: x\r\nMESSAGE-ID:  <a@b>\r\n\r\nbody", "<a@b>"),
        (b"Message-ID:\r\n <a@b>\r\n\r\nbody", "<a@b>"),
        (b"Subject: x\r\n\r\nMessage-ID: <quoted@b>\r\n", ""),
        (b"", ""),
    ],
)
def test_a_message_id_is_found_in_the_header_only(message: bytes, expected: str) -> None:
    assert store.message_id_of(message) == expected


def test_a_store_that_is_not_there_reads_as_empty(tmp_path: Path) -> None:
    assert store.list_mails(tmp_path / "none.sqlite") == []
    assert store.count(tmp_path / "none.sqlite") == Counts(received=0, unique=0, refused=0)


@asynccontextmanager
async def webhook_sink(
    file: Path | None, *, faults: str = "[]", log: Path | None = None, kill_at_end: bool = False
) -> AsyncIterator[str]:
    port = free_port()
    where = "--memory" if file is None else f"--store={file}"
    folder = log or (file.parent if file is not None else Path())
    arguments = [f"--listen={HOST}:{port}", where, f"--faults={faults}"]
    sink = program("webhook", arguments, folder, port)
    await sink.start()
    try:
        yield f"http://{HOST}:{port}"
    finally:
        if kill_at_end:
            sink.kill()
        await sink.stop()


@asynccontextmanager
async def mail_sink(file: Path, *, faults: str = "[]") -> AsyncIterator[tuple[int, str]]:
    port, control = free_ports(2)
    arguments = [f"--listen={HOST}:{port}", f"--control={HOST}:{control}", f"--store={file}"]
    sink = program("mail", [*arguments, f"--faults={faults}"], file.parent, port)
    await sink.start()
    try:
        yield port, f"http://{HOST}:{control}"
    finally:
        await sink.stop()


def program(kind: str, arguments: list[str], folder: Path, port: int) -> Program:
    return Program(
        kind,
        [sys.executable, "-m", f"stack.sinks.{kind}", *arguments],
        environment=os.environ,
        log=folder / f"{kind}.log",
        ready=lambda: listens(HOST, port),
    )


async def post(session: aiohttp.ClientSession, url: str, *, key: str, body: bytes = b"{}") -> int:
    headers = {"Idempotency-Key": key, "X-Shop": "north"}
    async with session.post(url, data=body, headers=headers) as answer:
        return answer.status


async def send(port: int, name: str, *, to: list[str] | None = None) -> None:
    async with aiosmtplib.SMTP(hostname=HOST, port=port, start_tls=False) as client:
        await client.sendmail("shop@example.test", to or ["ada@example.test"], MAIL.format(id=name))
