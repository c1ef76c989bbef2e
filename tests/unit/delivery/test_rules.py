"""Makes sure that what follows from an attempt is right for all attempts."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.delivery.model import (
    AllowedHost,
    Expired,
    GiveUp,
    Outcome,
    RetryAt,
    RetryPolicy,
    Sent,
    State,
    Target,
    Unknown,
    Verdict,
)
from services.delivery.rules import (
    address_allowed,
    backoff,
    host_allowed,
    http_outcome,
    lapsed,
    parse_allowed,
    parse_target,
    postpone,
    settle,
    smtp_outcome,
)

NOW = datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC)
FAR = NOW + timedelta(days=3)
POLICY = RetryPolicy()

outcomes = st.sampled_from(Outcome)
spans = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400))
expiries = st.timedeltas(min_value=timedelta(days=-1), max_value=timedelta(days=30)).map(
    lambda span: NOW + span
)
jitters = st.floats(0, 1)
policies = st.builds(
    RetryPolicy,
    attempts_max=st.integers(5, 50),
    first_delay=st.timedeltas(timedelta(milliseconds=1), timedelta(minutes=1)),
    longest_delay=st.timedeltas(timedelta(minutes=1), timedelta(days=1)),
)


def judged(
    outcome: Outcome,
    *,
    attempt: int = 1,
    policy: RetryPolicy = POLICY,
    repeat_safe: bool = True,
    jitter: float = 0.5,
    expire_time: datetime = FAR,
    retry_after: timedelta | None = None,
) -> Verdict:
    return settle(
        NOW,
        outcome,
        attempt=attempt,
        policy=policy,
        repeat_safe=repeat_safe,
        jitter=jitter,
        expire_time=expire_time,
        retry_after=retry_after,
    )


def test_what_was_accepted_is_sent() -> None:
    assert judged(Outcome.ACCEPTED) == Sent()


def test_what_was_refused_is_never_tried_again() -> None:
    assert judged(Outcome.REFUSED) == GiveUp("provider_refused")


@given(attempt=st.integers(1, 100), jitter=jitters, expire=expiries)
def test_silence_is_never_repeated_where_a_repeat_is_a_second_message(
    attempt: int, jitter: float, expire: datetime
) -> None:
    verdict = judged(
        Outcome.NO_ANSWER, attempt=attempt, repeat_safe=False, jitter=jitter, expire_time=expire
    )

    assert verdict == Unknown()


@given(
    outcome=st.sampled_from([Outcome.TRY_LATER, Outcome.NO_ANSWER]),
    attempt=st.integers(1, 4),
    policy=policies,
    jitter=jitters,
)
def test_with_time_left_there_are_at_least_five_tries(
    outcome: Outcome, attempt: int, policy: RetryPolicy, jitter: float
) -> None:
    verdict = judged(outcome, attempt=attempt, policy=policy, jitter=jitter)

    assert isinstance(verdict, RetryAt)


@given(policy=policies, jitter=jitters, attempt=st.integers(1, 1000))
def test_tries_come_to_an_end(policy: RetryPolicy, jitter: float, attempt: int) -> None:
    verdict = judged(Outcome.TRY_LATER, attempt=attempt, policy=policy, jitter=jitter)

    assert (verdict == GiveUp("attempts_exhausted")) == (attempt >= policy.attempts_max)


@example(outcome=Outcome.TRY_LATER, expire=NOW, asked=None, jitter=0.0, attempt=1)
@example(
    outcome=Outcome.TRY_LATER,
    expire=NOW + timedelta(seconds=2),
    asked=timedelta(0),
    jitter=1.0,
    attempt=1,
)
@given(
    outcome=outcomes,
    expire=expiries,
    asked=st.none() | spans,
    jitter=jitters,
    attempt=st.integers(1, 60),
)
def test_a_retry_is_later_than_now_and_asked_for_and_before_the_end(
    outcome: Outcome, expire: datetime, asked: timedelta | None, jitter: float, attempt: int
) -> None:
    verdict = judged(outcome, attempt=attempt, jitter=jitter, expire_time=expire, retry_after=asked)

    if isinstance(verdict, RetryAt):
        assert NOW < verdict.time < expire
        assert verdict.time - NOW >= (asked or timedelta(0))


def test_a_provider_that_wants_peace_beyond_the_end_lets_it_expire() -> None:
    verdict = judged(
        Outcome.TRY_LATER,
        expire_time=NOW + timedelta(minutes=10),
        retry_after=timedelta(minutes=11),
    )

    assert verdict == Expired()


def test_our_own_pause_gives_way_to_one_more_try() -> None:
    verdict = judged(Outcome.TRY_LATER, attempt=11, expire_time=NOW + timedelta(minutes=10))

    assert verdict == RetryAt(NOW + timedelta(minutes=5))


@given(attempt=st.integers(1, 10_000), jitter=jitters, policy=policies)
def test_pauses_grow_and_stay_bounded(attempt: int, jitter: float, policy: RetryPolicy) -> None:
    now = backoff(attempt, policy=policy, jitter=jitter)
    after = backoff(attempt + 1, policy=policy, jitter=jitter)

    assert now <= after <= policy.longest_delay
    assert now >= policy.first_delay / 2 - timedelta(microseconds=1)


def test_what_could_not_be_tried_waits_without_end_but_its_own() -> None:
    assert isinstance(
        postpone(NOW, tries=10_000, policy=POLICY, jitter=0.5, expire_time=FAR), RetryAt
    )
    assert postpone(NOW, tries=1, policy=POLICY, jitter=0.5, expire_time=NOW) == Expired()


def test_a_policy_that_gives_up_early_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="at least 5"):
        RetryPolicy(attempts_max=4)
    with pytest.raises(ValueError, match="positive"):
        RetryPolicy(first_delay=timedelta(0))


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.ACCEPTED),
        (204, Outcome.ACCEPTED),
        (299, Outcome.ACCEPTED),
        (301, Outcome.REFUSED),
        (400, Outcome.REFUSED),
        (408, Outcome.TRY_LATER),
        (410, Outcome.REFUSED),
        (425, Outcome.TRY_LATER),
        (429, Outcome.TRY_LATER),
        (499, Outcome.REFUSED),
        (500, Outcome.TRY_LATER),
        (599, Outcome.TRY_LATER),
    ],
)
def test_what_http_says(status: int, outcome: Outcome) -> None:
    assert http_outcome(status) is outcome


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (250, Outcome.ACCEPTED),
        (251, Outcome.ACCEPTED),
        (354, Outcome.TRY_LATER),
        (421, Outcome.TRY_LATER),
        (452, Outcome.TRY_LATER),
        (500, Outcome.REFUSED),
        (550, Outcome.REFUSED),
        (599, Outcome.REFUSED),
    ],
)
def test_what_smtp_says(code: int, outcome: Outcome) -> None:
    assert smtp_outcome(code) is outcome


def test_only_what_may_be_out_and_cannot_be_repeated_is_unknown() -> None:
    assert lapsed(handed_over=True, repeat_safe=False) is State.UNKNOWN
    assert lapsed(handed_over=True, repeat_safe=True) is State.PENDING
    assert lapsed(handed_over=False, repeat_safe=False) is State.PENDING


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://a.example", Target("http", "a.example", 80, "/")),
        ("https://A.example./x?y=z", Target("https", "a.example", 443, "/x?y=z")),
        ("http://[::1]:8080/x", Target("http", "::1", 8080, "/x")),
    ],
)
def test_a_url_is_read(url: str, target: Target) -> None:
    assert parse_target(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://a.example/",
        "http:///x",
        "http://user:secret@a.example/",
        "http://a.example/#part",
        "http://a.example:0/",
        "http://a.example:99999/",
        "http://a.example/x\r\nX-Evil: 1",
        "http://a.example/ b",
        "http://bücher.example/",
        "http://a.example\\@b.example/",
        "//a.example/",
    ],
)
def test_a_bad_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_target(url)


@pytest.mark.parametrize(
    ("entry", "url", "allowed"),
    [
        ("a.example", "http://a.example/", True),
        ("a.example", "http://a.example:81/", True),
        ("a.example:80", "http://a.example:81/", False),
        ("A.example.:81", "http://a.example:81/", True),
        ("*.example", "http://a.b.example/", True),
        ("*.example", "http://example/", False),
        ("*.a.example", "http://bada.example/", False),
        ("*", "http://any.where/", True),
        ("[::1]:80", "http://[::1]/", True),
        ("b.example", "http://a.example/", False),
    ],
)
def test_the_allow_list(entry: str, url: str, *, allowed: bool) -> None:
    assert host_allowed(parse_target(url), [parse_allowed(entry)]) is allowed


@pytest.mark.parametrize("entry", ["", "*.", "a*.b", "http://a", "a:0", "a:b", "a b"])
def test_a_bad_entry_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_allowed(entry)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "192.168.1.1",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
    ],
)
def test_a_star_vouches_for_no_private_address(address: str) -> None:
    target = Target("http", "a.example", 80, "/")

    assert not address_allowed(target, address, [AllowedHost("*")])
    assert address_allowed(target, address, [AllowedHost("a.example")])
    assert address_allowed(target, address, [AllowedHost("*"), AllowedHost("*.example")])
    assert not address_allowed(target, address, [AllowedHost("b.example")])


def test_a_star_vouches_for_public_addresses() -> None:
    target = Target("http", "a.example", 80, "/")

    assert address_allowed(target, "93.184.216.34", [AllowedHost("*")])
    assert address_allowed(target, "2606:2800:220:1::1", [AllowedHost("*")])
