"""Filters: CEL in, SQL out."""

from services.profile.convert.predicates.compiler import compile_tree
from services.profile.convert.predicates.conditions import conditions
from services.profile.convert.predicates.environment import check, environment
from services.profile.model.segments import Filter

__all__ = ["compile_filter", "conditions", "environment"]


def compile_filter(source: str, *, relation: bool = False) -> Filter:
    """Return a filter as SQL over `profiles AS p`, and with `relation` over `r.attributes`.

    The SQL is true exactly where the CEL library says true over the same person; it is NULL
    where the library has an error, and never fails.

    Raises:
        InvalidArgument: `EXPRESSION_INVALID` with line and column, `EXPRESSION_TOO_COSTLY`
            where it is longer or deeper than it may be.
    """
    return compile_tree(source, check(source, relation=relation))
