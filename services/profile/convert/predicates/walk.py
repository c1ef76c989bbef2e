"""One way through a tree: what is known of it so far, and how to go on into its parts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from mesh.errors import InvalidArgument
from mesh.expressions import too_costly
from services.profile.convert.predicates.environment import refused
from services.profile.convert.predicates.needs import Needs
from services.profile.convert.predicates.terms import Kind, Term, as_bool, json_term
from services.profile.convert.predicates.tree import Constant, Node, Tree
from services.profile.model.segments import SqlValue

# A part of a filter may stand in the SQL several times, and parts within parts more often.
SQL_MAX = 64 * 1024

Translate: TypeAlias = Callable[["Walk", Node], Term]
"""Makes a term of a node of whatever kind; it asks the walk for those of its parts."""


class Walk:
    """Collects what the SQL needs while the terms of a tree are made."""

    def __init__(self, source: str, tree: Tree, translate: Translate) -> None:
        """Stand before the root of an expression's tree."""
        self.source = source
        self.parameters: list[SqlValue] = []
        self.needs = Needs()
        self.dues: list[str] = []
        self.variables: dict[str, Term] = {}
        self.time_sums = 0
        self.variable = ""
        """Of the loop around what is met now; empty outside of loops."""
        self._positions = tree.positions
        self._translate = translate
        self._loops = 0

    def term(self, node: Node) -> Term:
        made = self._translate(self, node)
        if len(made.sql) > SQL_MAX:
            raise too_costly(self.source, f"{SQL_MAX} characters of SQL")
        return made

    def bool(self, node: Node) -> str:
        """Return SQL for a bool; whatever cannot be one is refused."""
        term = self.term(node)
        if term.kind not in (Kind.BOOL, Kind.JSON):
            raise self.refuse(node, "must give a bool")
        return as_bool(term)

    def word(self, node: Node) -> str:
        """Return a string that must stand there as a literal."""
        if isinstance(node, Constant) and isinstance(node.value, str):
            return self.kept(node, node.value)
        raise self.refuse(node, "must be a literal string")

    def kept(self, node: Node, text: str) -> str:
        """Return the text of a literal, unless PostgreSQL cannot hold it."""
        if "\0" in text or any("\ud800" <= one <= "\udfff" for one in text):
            raise self.refuse(node, "a string must not hold a NUL or half a character")
        return text

    def slot(self, value: SqlValue, type_: str) -> str:
        """Keep a value apart from the SQL; return what stands for it there."""
        self.parameters.append(value)
        return f"{{{len(self.parameters) - 1}}}::{type_}"

    @contextmanager
    def loop(self, variable: str) -> Iterator[tuple[str, list[str]]]:
        """Go into a loop; give the alias of its elements, and the dues of what stands inside."""
        self._loops += 1
        alias, inner = f"e{self._loops}", list[str]()
        outer, self.dues = self.dues, inner
        around, self.variable = self.variable, variable
        shadowed, self.variables = (
            self.variables,
            self.variables | {variable: json_term(f"{alias}.v")},
        )
        yield alias, inner
        self.variables, self.dues, self.variable = shadowed, outer, around
        self._loops -= 1

    def refuse(self, node: Node, message: str) -> InvalidArgument:
        return refused(self.source, self._positions.get(node.node, 0), message)


def least(dues: Sequence[str]) -> str:
    """Return SQL for the first of some moments."""
    return f"LEAST({', '.join(dues)})" if dues else "NULL::bigint"
