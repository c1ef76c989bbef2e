"""Makes sure that patches mean the same in one call or many, and stay what they are on refolding."""

import json
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.profile.model import Facts, Profile, Refused
from services.profile.model.patches import Done, Erased, Outcome, Patched, Stale
from services.profile.model.persons import Person, Recorded
from services.profile.rules import Types
from services.profile.rules.identity import fold
from services.profile.rules.operations import Operations
from services.profile.rules.patching import Patch, apply_patches

MEMBERS = ("ana", "anon", "laptop")
ERASURE = UUID(int=7)

keys = st.sampled_from(["n", "m"])
numbers = st.sampled_from(["0", "1", "2.50", "-3"])
operations = st.builds(
    Operations,
    write=st.dictionaries(keys | st.just("email"), numbers | st.sampled_from(["null", '"a@b.c"'])),
    set_once=st.dictionaries(keys, numbers),
    increment=st.dictionaries(keys, numbers),
    remove=st.dictionaries(st.just("l"), st.sampled_from(["1", '["a"]'])),
    append=st.dictionaries(st.just("l"), st.sampled_from(["1", '["a", 1]'])),
    unset=st.lists(keys | st.sampled_from(["l", "email"]), max_size=1),
)
patches = st.lists(
    st.builds(
        lambda member, wanted: Patch(("acme", member), wanted),
        st.sampled_from([*MEMBERS, "ben"]),
        operations,
    ),
    max_size=8,
)
recorded = st.builds(
    lambda n, at: Recorded(Profile(facts=Facts(f'{{"n": {n}}}', times=json.dumps({"n": at})))),
    st.integers(0, 3),
    st.integers(1, 20),
)


def united(contributions: dict[str, Recorded]) -> dict[tuple[str, str], Person]:
    """Return one person by each of her ids."""
    profile = fold(contributions)._replace(version=3)
    person = Person(("acme", "ana"), profile, MEMBERS, contributions)
    return {("acme", member): person for member in MEMBERS}


def applied(
    wanted: list[Patch], people: dict[tuple[str, str], Person], at_us: int, types: Types
) -> Patched:
    return apply_patches(wanted, people, erased={}, types=types, at_us=at_us)


@given(st.fixed_dictionaries(dict.fromkeys(MEMBERS, recorded)), patches, st.integers(1, 30))
def test_what_is_decided_on_the_union_is_what_the_ids_fold_to(
    contributions: dict[str, Recorded], wanted: list[Patch], at_us: int
) -> None:
    patched = applied(wanted, united(contributions), at_us, Types())

    ana = patched.people["acme", "ana"]
    assert fold(ana.contributions).facts == ana.profile.facts
    before, after = patched.changes.get(("acme", "ana"), (None, None))
    if after is not None:
        assert before is not None
        assert after.profile.version == before.profile.version + 1


@given(st.fixed_dictionaries(dict.fromkeys(MEMBERS, recorded)), patches, st.integers(1, 30))
def test_patches_mean_the_same_in_one_call_or_in_many(
    contributions: dict[str, Recorded], wanted: list[Patch], at_us: int
) -> None:
    at_once = applied(wanted, united(contributions), at_us, Types())

    people, types = united(contributions), Types()
    outcomes: list[Outcome] = []
    for one in wanted:
        patched = applied([one], people, at_us, types)
        outcomes += patched.outcomes
        for name, person in patched.people.items():
            for member in person.ids:
                people[name[0], member] = person

    assert outcomes == list(at_once.outcomes)
    for name, person in at_once.people.items():
        assert people[name].profile.facts == person.profile.facts


def test_who_was_erased_is_not_made_anew_and_who_is_there_is_written() -> None:
    ben, cid = ("acme", "ben"), ("acme", "cid")
    there = Person(cid, Profile(version=4))
    wanted = [Patch(ben, Operations()), Patch(cid, Operations({"n": "1"}))]

    patched = apply_patches(
        wanted, {cid: there}, erased=dict.fromkeys((ben, cid), ERASURE), types=Types(), at_us=5
    )

    assert patched.outcomes == [Erased(ERASURE), Done(cid, created=False, changed=True)]


def test_an_etag_is_that_of_the_moment() -> None:
    cid = ("acme", "cid")
    there = Person(cid, Profile(version=4))
    change = Operations(increment={"n": "1"})

    patched = applied(
        [Patch(cid, change, "4"), Patch(cid, change, "4"), Patch(("acme", "new"), change, "1")],
        {cid: there},
        5,
        Types(),
    )

    assert patched.outcomes == [Done(cid, created=False, changed=True), Stale(), Stale()]


def test_a_patch_that_is_none_is_refused_by_itself() -> None:
    cid = ("acme", "cid")
    bad = Refused("set.n", "must be a number that JSON has")

    patched = applied([Patch(cid, bad), Patch(cid, Operations())], {}, 5, Types())

    assert patched.outcomes == [bad, Done(cid, created=True, changed=True)]
