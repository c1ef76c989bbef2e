"""Caps, instants and zones that are likely to hurt."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from services.throttle.model import Calendar, Channel, FrequencyCap, OnBreach, Rolling

# Each with an instant at which something odd happens there.
EDGES = [
    ("America/Sao_Paulo", datetime(2018, 11, 4, 3, tzinfo=UTC)),  # midnight does not exist
    ("America/Sao_Paulo", datetime(2018, 2, 18, 2, tzinfo=UTC)),  # 24:00 becomes 23:00
    ("America/Havana", datetime(2026, 11, 1, 5, tzinfo=UTC)),  # midnight exists twice
    ("America/St_Johns", datetime(2010, 11, 7, 2, 31, tzinfo=UTC)),  # 00:01 becomes 23:01
    ("Asia/Beirut", datetime(2026, 3, 28, 22, tzinfo=UTC)),  # midnight does not exist
    ("America/Toronto", datetime(1919, 3, 31, 4, 30, tzinfo=UTC)),  # 23:30 becomes 00:30
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),  # a day of 23 hours
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),  # a day of 25 hours
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),  # a day was left out
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),  # half an hour
    ("Asia/Kathmandu", datetime(2026, 6, 7, 18, 15, tzinfo=UTC)),  # Monday's midnight
    ("UTC", datetime(2026, 6, 8, tzinfo=UTC)),
]

caps = st.builds(
    lambda number, channel, limit, window, on_breach: FrequencyCap(
        workspace="acme",
        cap_id=f"cap-{number}",
        channel=channel,
        limit=limit,
        window=window,
        on_breach=on_breach,
    ),
    st.integers(0, 9),
    st.sampled_from([None, *Channel]),
    st.integers(1, 4),
    st.sampled_from(
        [
            Calendar.DAY,
            Calendar.WEEK,
            Rolling(timedelta(minutes=1)),
            Rolling(timedelta(hours=1)),
            Rolling(timedelta(days=1)),
            Rolling(timedelta(days=30)),
        ]
    ),
    st.sampled_from(OnBreach),
)

# Steps between one send and the next: none, the least, to the border of a window and beyond.
steps = st.one_of(
    st.sampled_from(
        [
            timedelta(0),
            timedelta(microseconds=1),
            timedelta(minutes=1),
            timedelta(minutes=1) - timedelta(microseconds=1),
            timedelta(minutes=30),
            timedelta(hours=1),
            timedelta(hours=12),
            timedelta(days=1),
            timedelta(days=6),
        ]
    ),
    st.timedeltas(timedelta(0), timedelta(days=8)),
)


@st.composite
def instants_at_edges(draw: st.DrawFn) -> tuple[str, datetime]:
    """Return a zone and an instant near one of its oddities."""
    zone, edge = draw(st.sampled_from(EDGES))
    offset = draw(
        st.one_of(
            st.sampled_from([timedelta(0), timedelta(microseconds=-1), timedelta(seconds=30)]),
            st.timedeltas(timedelta(days=-2), timedelta(days=2)),
        )
    )
    return zone, edge + offset
