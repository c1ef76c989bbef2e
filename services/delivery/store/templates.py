"""Templates as they are kept."""

from collections.abc import Sequence

from mesh.postgres import Database
from services.delivery.model import TemplateRecord

_COLUMNS = "workspace, template, content, etag, update_time"


class TemplateStore:
    """The templates of all workspaces."""

    def __init__(self, db: Database) -> None:
        """Take the database."""
        self._db = db

    async def get(self, workspace: str, template: str) -> TemplateRecord | None:
        """Return a template."""
        found = await self.get_many([(workspace, template)])
        return found[0] if found else None

    async def get_many(self, names: Sequence[tuple[str, str]]) -> list[TemplateRecord]:
        """Return those of the templates that there are, in no order."""
        async with self._db.connection() as connection:
            rows = await connection.fetch(
                f"SELECT {_COLUMNS} FROM templates"  # noqa: S608 — names of ours
                " WHERE (workspace, template) IN"
                " (SELECT * FROM unnest($1::text[], $2::text[]))",
                [workspace for workspace, _ in names],
                [template for _, template in names],
            )
        return [TemplateRecord(*row) for row in rows]

    async def list(self, workspace: str, after: str, limit: int) -> list[TemplateRecord]:
        """Return templates by id."""
        async with self._db.connection() as connection:
            rows = await connection.fetch(
                f"SELECT {_COLUMNS} FROM templates"  # noqa: S608 — names of ours
                " WHERE workspace = $1 AND template > $2 ORDER BY template LIMIT $3",
                workspace,
                after,
                limit,
            )
        return [TemplateRecord(*row) for row in rows]

    async def put(self, record: TemplateRecord, *, expected_etag: str) -> bool:
        """Write a template; say whether it still had `expected_etag` ('': there was none)."""
        statement = (
            "UPDATE templates SET content = $3, etag = $4, update_time = $5"
            " WHERE workspace = $1 AND template = $2 AND etag = $6"
            if expected_etag
            else "INSERT INTO templates (workspace, template, content, etag, update_time)"
            " SELECT $1, $2, $3, $4, $5 WHERE $6 = '' ON CONFLICT DO NOTHING"
        )
        async with self._db.connection() as connection:
            tag = await connection.execute(
                statement,
                record.workspace,
                record.template,
                record.content,
                record.etag,
                record.update_time,
                expected_etag,
            )
        return not tag.endswith(" 0")

    async def delete(self, workspace: str, template: str) -> bool:
        """Remove a template; say whether there was one."""
        async with self._db.connection() as connection:
            tag = await connection.execute(
                "DELETE FROM templates WHERE workspace = $1 AND template = $2",
                workspace,
                template,
            )
        return not tag.endswith(" 0")
