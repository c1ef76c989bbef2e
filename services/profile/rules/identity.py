"""Which ids are one person, and what is known of that person together."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from services.profile.model import Counter, Facts, Profile
from services.profile.model.persons import Edge, EdgeState, Person, Recorded
from services.profile.rules.facts import ATTRIBUTE_BYTES_MAX, ATTRIBUTE_KEYS_MAX, FORMS
from services.profile.rules.objects import join, split

# A sender that makes type names up must not let one profile grow without bound.
COUNTER_TYPES_MAX = 512


def fold(contributions: Mapping[str, Recorded]) -> Profile:
    """Return what is known together; the same in whatever order the ids came together.

    Counters are summed, first and last seen are the widest. Of each attribute and
    address the value written last holds, an unset counting as written; of two at the
    same instant the one under the greater id. Beyond what one profile may hold, the
    types that occurred first and the attributes written last are shown: the rest is
    kept under its id.
    """
    profiles = {member: recorded.profile for member, recorded in contributions.items()}
    counted = fold_counters([one.counters for one in profiles.values()])
    facts = fold_facts({member: one.facts for member, one in profiles.items()})
    first = min((one.first_seen_us for one in profiles.values() if one.first_seen_us), default=0)
    last = max((one.last_seen_us for one in profiles.values()), default=0)
    return Profile(0, facts, counted, first, last)


def fold_counters(every: Iterable[Mapping[str, Counter]]) -> dict[str, Counter]:
    """Return the counters of all together."""
    folded: dict[str, Counter] = {}
    for counters in every:
        for kind, (count, first, last) in counters.items():
            total, earliest, latest = folded.get(kind, (0, first, last))
            folded[kind] = (total + count, min(earliest, first), max(latest, last))
    if len(folded) <= COUNTER_TYPES_MAX:
        return folded
    shown = sorted(folded, key=lambda kind: (folded[kind][1], kind))[:COUNTER_TYPES_MAX]
    return {kind: folded[kind] for kind in shown}


def fold_facts(every: Mapping[str, Facts]) -> Facts:
    """Return the facts of all together: of each the one written last."""
    telling = {member: facts for member, facts in every.items() if facts != _SILENT}
    if len(telling) <= 1:
        # Most people: one id of theirs has a name, the others only browsed.
        return next(iter(telling.values()), _SILENT)
    newest: dict[tuple[bool, str], tuple[int, str, str]] = {}
    for member, facts in telling.items():
        for key, time, value in _written(facts):
            if key not in newest or newest[key][:2] < (time, member):
                newest[key] = (time, member, value)
    fields = {key: newest[True, key][2] for key in FORMS if (True, key) in newest}
    attributes = {key: value for (field, key), (_, _, value) in newest.items() if not field}
    times = {key: 0 for _, key in newest}
    for (_, name), (at, _, _) in newest.items():
        times[name] = max(times[name], at)
    return Facts(
        attributes=join(_bounded({k: v for k, v in attributes.items() if v != _UNSET}, times)),
        times=join({key: str(time) for key, time in times.items() if time}),
        **fields,
    )


def sources(contributions: Mapping[str, Recorded]) -> dict[str, tuple[str, int]]:
    """Return under which id each attribute and address that holds was written, and when."""
    newest: dict[str, tuple[int, str, str]] = {}
    for member, recorded in contributions.items():
        for (_, key), time, value in _written(recorded.profile.facts):
            if key not in newest or newest[key][:2] < (time, member):
                newest[key] = (time, member, value)
    return {
        key: (member, time)
        for key, (time, member, value) in newest.items()
        if value not in {_UNSET, ""}
    }


def rewrite(
    person: Person,
    member_id: str,
    facts: Facts,
    *,
    said: Collection[str] = (),
    at_us: int = 0,
) -> Person:
    """Return the person after a write under one of her ids, which made `facts` of the union's.

    The id takes over what that changed, and what was `said` under these keys though the
    union says so already: it stays when the ids are parted. The version grows by one;
    when there is nothing to take over it is this very person.
    """
    version = person.profile.version + 1
    if not person.contributions:
        if person.profile.version and facts is person.profile.facts:
            return person
        return person._replace(profile=person.profile._replace(version=version, facts=facts))
    mine = person.contributions.get(member_id, Recorded())
    taken = take_over(mine.profile.facts, before=person.profile.facts, after=facts)
    taken = say_again(taken, facts, said, at_us=at_us)
    if taken == mine.profile.facts:
        return person
    contributions = {
        **person.contributions,
        member_id: mine._replace(profile=mine.profile._replace(facts=taken)),
    }
    folded = fold_facts({key: one.profile.facts for key, one in contributions.items()})
    profile = person.profile._replace(version=version, facts=folded)
    return person._replace(profile=profile, contributions=contributions)


def take_over(mine: Facts, *, before: Facts, after: Facts) -> Facts:
    """Return one id's own facts with what a write changed of those of the union."""
    return _copy(mine, after, _changed(before, after), at_us=0)


def say_again(mine: Facts, said: Facts, keys: Collection[str], *, at_us: int) -> Facts:
    """Return one id's own facts after it wrote, under `keys`, what the union says already.

    It is its own word as well, and stays when the ids are parted. What the id itself says
    already stays as old as it was.
    """
    return _copy(mine, said, changed_keys(mine, said).intersection(keys), at_us=at_us)


def changed_keys(before: Facts, after: Facts) -> frozenset[str]:
    """Return the attributes and addresses that are others now."""
    if before is after:
        return frozenset()
    old, new = split(before.attributes), split(after.attributes)
    keys = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    return frozenset(keys | {key for key in FORMS if getattr(before, key) != getattr(after, key)})


def contributions_of(person: Person) -> Mapping[str, Recorded]:
    """Return what was recorded under each id, also of who has but one."""
    if person.contributions:
        return person.contributions
    own = person.profile._replace(version=0, traits="{}")
    return {person.key[1]: Recorded(own, person.create_time)}


def unite(into: Person, other: Person) -> Person:
    """Return the two as one person, under the name of `into`; its version is above both."""
    contributions = {**contributions_of(into), **contributions_of(other)}
    version = max(into.profile.version, other.profile.version) + 1
    known = [one.create_time for one in (into, other) if one.profile.version]
    return into._replace(
        profile=fold(contributions)._replace(version=version, traits=into.profile.traits),
        member_ids=tuple(sorted(contributions)),
        contributions=contributions,
        create_time=min(known, default=into.create_time),
    )


def part(person: Person, names: Mapping[str, str]) -> list[Person]:
    """Return the people that are left when each id goes under the name it has in `names`.

    Each has what was recorded under its ids, and a version above the one they had together.
    """
    groups: defaultdict[str, dict[str, Recorded]] = defaultdict(dict)
    for member in sorted(person.contributions):
        groups[names.get(member, member)][member] = person.contributions[member]
    return [_parted(person, name, theirs) for name, theirs in sorted(groups.items())]


def roots(edges: Iterable[Edge], members: Collection[str] = ()) -> dict[str, str]:
    """Return under which name each id goes: live edges done again in their order.

    Each edge unites two people under the name that the one of `into` has by then. Ids
    without an edge go under their own.
    """
    names = {member: member for member in members}
    groups: dict[str, list[str]] = {member: [member] for member in members}
    for edge in sorted(edges, key=lambda one: one.sequence):
        if edge.state is not EdgeState.LIVE:
            continue
        for member in (edge.from_id, edge.into_id):
            if member not in names:
                names[member], groups[member] = member, [member]
        kept, gone = names[edge.into_id], names[edge.from_id]
        if kept != gone:
            for member in groups[gone]:
                names[member] = kept
            groups[kept] += groups.pop(gone)
    return names


def uniting_edge(edges: Sequence[Edge], one: str, other: str) -> Edge | None:
    """Return the live edge that made the two ids one person; None: they are not."""
    live = sorted(
        (edge for edge in edges if edge.state is EdgeState.LIVE), key=lambda edge: edge.sequence
    )
    for edge in live:
        if {edge.from_id, edge.into_id} == {one, other}:
            return edge
    for count, edge in enumerate(live, start=1):
        names = roots(live[:count], (one, other))
        if names[one] == names[other]:
            return edge
    return None


_UNSET = "null"
_SILENT = Facts()


def _parted(person: Person, name: str, theirs: Mapping[str, Recorded]) -> Person:
    version = person.profile.version + 1
    key = (person.key[0], name)
    create_time = min(one.create_time for one in theirs.values())
    if len(theirs) == 1:
        profile = theirs[name].profile._replace(version=version)
        return Person(key, profile, create_time=create_time, update_time=person.update_time)
    return Person(
        key,
        fold(theirs)._replace(version=version),
        tuple(sorted(theirs)),
        theirs,
        create_time,
        person.update_time,
    )


def _written(facts: Facts) -> Iterable[tuple[tuple[bool, str], int, str]]:
    """Say of each attribute and field that was ever written when and what; null: it was unset."""
    times = {key: int(time) for key, time in split(facts.times).items()}
    values = split(facts.attributes)
    for key in FORMS:
        value: str = getattr(facts, key)
        if value or key in times:
            yield (True, key), times.get(key, 0), value
    for key in values.keys() | (times.keys() - FORMS.keys()):
        yield (False, key), times.get(key, 0), values.get(key, _UNSET)


def _copy(mine: Facts, other: Facts, keys: Collection[str], *, at_us: int) -> Facts:
    """Return facts with what others say under the keys, written at `at_us` or when they did."""
    if not keys:
        return mine
    values, times = split(mine.attributes), split(mine.times)
    other_values, other_times = split(other.attributes), split(other.times)
    fields: dict[str, str] = {}
    for key in keys:
        time = max(at_us, int(other_times.get(key, "0")))
        if time:
            times[key] = str(time)
        if key in FORMS:
            fields[key] = getattr(other, key)
        if key in other_values:
            values[key] = other_values[key]
        else:
            values.pop(key, None)
    return mine._replace(attributes=join(values), times=join(times), **fields)


def _changed(before: Facts, after: Facts) -> set[str]:
    """Return the keys of what was written: another value, or the same at another time."""
    old, new = split(before.times), split(after.times)
    written = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    return written | changed_keys(before, after)


def _bounded(values: dict[str, str], times: Mapping[str, int]) -> dict[str, str]:
    if len(values) <= ATTRIBUTE_KEYS_MAX and len(join(values).encode()) <= ATTRIBUTE_BYTES_MAX:
        return values
    shown: dict[str, str] = {}
    room = ATTRIBUTE_BYTES_MAX
    for key in sorted(values, key=lambda key: (-times.get(key, 0), key))[:ATTRIBUTE_KEYS_MAX]:
        # Quotes, colon and comma with it.
        room -= len(key.encode()) + len(values[key].encode()) + 6
        if room < 0:
            break
        shown[key] = values[key]
    return shown
