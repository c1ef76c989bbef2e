"""Makes sure that whatever a resource can be, its manifest says: written and read back, it is the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message as ProtoMessage
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.manifests import kinds
from cli.manifests.decode import decode_files
from cli.manifests.kinds import KINDS, Kind
from cli.manifests.places import Faults
from cli.manifests.write import to_yaml

WORDS = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
# No `$`, which a manifest takes for a variable, and nothing that YAML cannot hold.
TEXTS = st.text(
    st.characters(
        codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="$\ufeff\ufffe\uffff"
    )
    | st.just("\n"),
    min_size=1,
    max_size=20,
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=4,
)
MOMENTS = st.datetimes().map(lambda moment: moment.replace(microsecond=0))
SPANS = st.integers(0, 400 * 86400 * 1000)


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_what_is_written_is_read_back_the_same(
    tmp_path: Path, kind: Kind, data: st.DataObject
) -> None:
    message = kind.type()
    fill(message, data.draw)
    name = data.draw(WORDS) if "-" in kind.id_pattern else "a"
    message.name = kind.name_of("main", name)  # type: ignore[attr-defined]
    file = tmp_path / "written.yaml"
    file.write_text(to_yaml(kind, message), "utf-8")
    faults = Faults()

    [document] = decode_files([file], workspace="main", variables={}, faults=faults)

    assert document.message == message, file.read_text("utf-8")


def fill(message: ProtoMessage, draw: Callable[[Any], Any]) -> None:
    """Set some of what a manifest can say, and all that it must."""
    descriptor = kinds.descriptor_of(message)
    chosen = {draw(st.sampled_from(list(oneof.fields))) for oneof in kinds.choices(descriptor)}
    rivals = {field for oneof in kinds.choices(descriptor) for field in oneof.fields} - chosen
    for field in kinds.writable(descriptor).values():
        if field in rivals or not (kinds.required(field) or field in chosen or draw(st.booleans())):
            continue
        target = getattr(message, field.name)
        if kinds.is_map(field):
            for key, value in draw(st.dictionaries(WORDS, VALUES, max_size=3)).items():
                ParseDict(value, target[key])
        elif kinds.repeated(field):
            for _ in range(draw(st.integers(1, 2))):
                if field.message_type is None:
                    target.append(scalar(field, draw))
                else:
                    target.add().CopyFrom(inner(field.message_type, field, draw))
        elif field.message_type is not None:
            target.CopyFrom(inner(field.message_type, field, draw))
            target.SetInParent()
        else:
            setattr(message, field.name, scalar(field, draw))


def inner(
    descriptor: Descriptor, field: FieldDescriptor, draw: Callable[[Any], Any]
) -> ProtoMessage:
    """Return some message of a field."""
    match descriptor.full_name:
        case kinds.DURATION:
            sign = draw(st.sampled_from([1, -1])) if kinds.signed(field) else 1
            span = Duration()
            span.FromMilliseconds(sign * draw(SPANS))
            return span
        case kinds.TIMESTAMP:
            moment = Timestamp()
            moment.FromDatetime(draw(MOMENTS))
            return moment
        case kinds.VALUE:
            return ParseDict(draw(VALUES), Value())
        case _:
            message = GetMessageClass(descriptor)()
            fill(message, draw)
            return message


def scalar(field: FieldDescriptor, draw: Callable[[Any], Any]) -> Any:
    """Return some value of a field that is not its default, which nobody writes."""
    match field.type:
        case FieldDescriptor.TYPE_STRING if collection := kinds.REFERENCES.get(field.full_name):
            return f"workspaces/main/{collection}/{draw(WORDS)}"
        case FieldDescriptor.TYPE_STRING:
            return draw(TEXTS)
        case FieldDescriptor.TYPE_ENUM:
            names = kinds.enum_names(field)
            # What services fill in where a manifest is silent is not written, either.
            names.pop(kinds.DEFAULTS.get(field.full_name, ""), None)
            return draw(st.sampled_from(list(names.values())))
        case FieldDescriptor.TYPE_BOOL:
            return True
        case FieldDescriptor.TYPE_DOUBLE:
            return draw(st.floats(allow_nan=False, allow_infinity=False).filter(bool))
        case _:
            return draw(st.integers(1, 2**31 - 1))
