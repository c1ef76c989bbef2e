"""Which events were seen before: an id counts once in its window (G3)."""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from services.profile.model import Earlier, Event, Sorting


def sort_out(
    events: Iterable[Event], earlier: Mapping[UUID, Sequence[Earlier]], *, window_us: int
) -> Sorting:
    """Tell new events from repeats, in their order.

    Against the history and against each other: the same id from the same place in
    the log is a retry of ours, from another place with the same content a duplicate,
    with other content a misuse of the id. The window is measured between the times
    of receipt, so that the answer is the same whenever the question is asked.

    Exact for the events of one person, whoever writes them. One id used for two people
    at the same instant can slip through: their transactions share nothing.
    """
    sorting = Sorting([], [], [], [])
    seen: dict[UUID, Event] = {}
    for event in events:
        before = seen.get(event.event_uid)
        if before is not None and event.receive_us - before.receive_us <= window_us:
            same = event.fingerprint == before.fingerprint
            (sorting.duplicates if same else sorting.reused).append(event)
            continue
        found = earlier.get(event.event_uid)
        into = sorting.fresh if found is None else _compare(event, found, sorting, window_us)
        into.append(event)
        if into is sorting.fresh or into is sorting.retried:
            seen[event.event_uid] = event
    return sorting


def _compare(
    event: Event, found: Sequence[Earlier], sorting: Sorting, window_us: int
) -> list[Event]:
    recent = [one for one in found if event.receive_us - one.receive_us <= window_us]
    if not recent:
        return sorting.fresh
    for one in recent:
        if (
            one.log_position == event.log_position
            and one.log_partition == event.log_partition
            and one.fingerprint == event.fingerprint
        ):
            return sorting.retried
    newest = max(recent, key=lambda one: one.receive_us)
    same = newest.fingerprint == event.fingerprint
    return sorting.duplicates if same else sorting.reused
