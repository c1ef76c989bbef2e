"""Which people a caller wants listed, in which order, and where a page ends."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple, TypeAlias

from beckon.profile.v1 import profile_service_pb2 as pb

from mesh.errors import invalid_field
from mesh.names import workspace_of
from mesh.pages import OrderKey
from services.profile.convert.predicates import compile_filter
from services.profile.model.listings import Listing, Place
from services.profile.model.persons import Person

_Value: TypeAlias = "str | int | datetime"


class _Order(NamedTuple):
    column: str
    kind: type
    value: Callable[[Person], _Value]


_ORDERS: Mapping[str, _Order] = {
    "name": _Order("profile_id", str, lambda person: person.key[1]),
    "create_time": _Order("create_time", datetime, lambda person: person.create_time),
    "update_time": _Order("update_time", datetime, lambda person: person.update_time),
    "last_seen_time": _Order("last_seen_us", int, lambda person: person.profile.last_seen_us),
}
_BY_COLUMN = {order.column: order for order in _ORDERS.values()}


def listing(request: pb.ListProfilesRequest, now_us: int) -> Listing:
    """Return what is to be listed.

    Raises:
        InvalidArgument: There is no such order, or the filter does not compile.
    """
    workspace = workspace_of(request.parent, field="parent")
    column, descending = _order(request.order_by)
    if not request.filter:
        return Listing(workspace, column, descending, source=request.order_by)
    bound = compile_filter(request.filter).bind(now_us, first=2)
    return Listing(
        workspace, column, descending, bound.sql, bound.parameters, source=request.filter
    )


def place_key(wanted: Listing, last: Person) -> OrderKey:
    """Return where the next page begins, for its token."""
    return _BY_COLUMN[wanted.column].value(last), last.key[1]


def place(wanted: Listing, key: OrderKey) -> Place:
    """Return where a page begins."""
    kind = _BY_COLUMN[wanted.column].kind
    match key:
        case ((str() | int() | datetime()) as value, str(profile_id)) if isinstance(value, kind):
            return Place(value, profile_id)
        case _:
            raise invalid_field("page_token", "is not one of ours", reason="page_token")


def _order(order_by: str) -> tuple[str, bool]:
    words = order_by.split() or ["name"]
    match words:
        case [name] if name in _ORDERS:
            return _ORDERS[name].column, False
        case [name, "desc"] if name in _ORDERS:
            return _ORDERS[name].column, True
        case _:
            names = ", ".join(_ORDERS)
            raise invalid_field("order_by", f"must be one of {names}, with or without desc")
