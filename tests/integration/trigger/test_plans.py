"""What is looked up by its key is, also while PostgreSQL knows nothing of a table's size."""

import pytest

from tests.integration.trigger.house import House


@pytest.mark.parametrize("table", ["enrollments", "entries", "assignments", "conversions"])
async def test_what_somebody_did_is_found_without_going_through_the_campaign(
    house: House, table: str
) -> None:
    condition = "workspace = 'acme' AND profile = 'anna' AND campaign = 'cart'"

    assert f"{table}_pkey" in await plan_of(house, f"SELECT * FROM {table} WHERE {condition}")


@pytest.mark.parametrize("table", ["enrollments", "assignments", "conversions"])
async def test_what_is_of_a_campaign_is_found_without_going_through_all(
    house: House, table: str
) -> None:
    condition = "workspace || '/' || campaign = 'acme/cart'"

    assert f"{table}_campaign" in await plan_of(house, f"SELECT * FROM {table} WHERE {condition}")


async def plan_of(house: House, query: str) -> str:
    async with house.database.transaction() as connection:
        # What is in one page is read faster than any index.
        await connection.execute("SET LOCAL enable_seqscan = off")
        rows = await connection.fetch(f"EXPLAIN {query}")
    return "\n".join(row[0] for row in rows)
