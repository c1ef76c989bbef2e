"""Makes sure that the memory of recent ids keeps what it promises, and no more."""

from services.ingest.store import RecentIds


def test_an_id_is_known_in_its_own_workspace_only() -> None:
    recent = RecentIds(10)

    recent.remember("acme", ["e1"], [b"print"])

    assert recent.recall("acme", ["e1", "e2"]) == [b"print", None]
    assert recent.recall("other", ["e1"]) == [None]


def test_as_many_as_its_capacity_are_known_and_at_most_twice_as_many() -> None:
    recent = RecentIds(100)

    for number in range(1000):
        recent.remember("acme", [f"e{number}"], [b"print"])

    found = recent.recall("acme", [f"e{number}" for number in range(1000)])
    known = [number for number, print_ in enumerate(found) if print_]
    assert known == list(range(1000 - len(known), 1000))
    assert 100 <= len(known) <= 200


def test_without_capacity_nothing_is_known() -> None:
    recent = RecentIds(0)

    recent.remember("acme", ["e1"], [b"print"])

    assert recent.recall("acme", ["e1"]) == [None]
