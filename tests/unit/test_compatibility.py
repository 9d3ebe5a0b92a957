import io
import json
from dataclasses import replace
from typing import Any

import fastavro
import pytest
from fastavro.read import SchemaResolutionError
from hypothesis import given
from hypothesis import strategies as st

from schemas.avro import Record
from schemas.compatibility import (
    OLD_READERS,
    REPLAY,
    Breakage,
    incompatibilities,
    misread,
    sentence,
    transitive_incompatibilities,
)
from schemas.manifest import load_datasets
from tests.unit.records import DECIMAL, TIMESTAMP, TYPES, field, fields, record, same, unhurried, values

RAW = load_datasets()["raw_data"]
BASE = field("a", "double", unit="kW", minimum=0, maximum=10)
OTHER = field("b", "long")


def change(**keys: Any) -> Record:
    """BASE with other keys, beside OTHER; a key of None is removed."""
    changed = {name: value for name, value in {**BASE, **keys}.items() if value is not None}
    return record(changed, OTHER)


@pytest.mark.parametrize(
    ("older", "newer", "kinds", "broken"),
    [
        # Fields that come and go.
        (record(OTHER), record(OTHER, field("c")), ["missing"], {REPLAY}),
        (record(OTHER, field("c")), record(OTHER), ["missing"], {OLD_READERS}),
        (record(field("c"), OTHER), record(field("d"), OTHER), ["missing", "missing"], {REPLAY, OLD_READERS}),
        # Null.
        (record(field("a")), record(field("a", nullable=True)), ["null"], {OLD_READERS}),
        (record(field("a", nullable=True)), record(field("a")), ["null"], {REPLAY}),
        # Types: Avro widens, in one direction only; logical types are read by Avro, and wrongly.
        (record(field("a", "int")), record(field("a", "long")), ["type"], {OLD_READERS}),
        (record(field("a", "double")), record(field("a", "int")), ["type"], {REPLAY}),
        (record(field("a", "string")), record(field("a", "long")), ["type"], {REPLAY, OLD_READERS}),
        (record(field("a", "long")), record(field("a", TIMESTAMP)), ["meaning"], {REPLAY, OLD_READERS}),
        (
            record(field("a", DECIMAL)),
            record(field("a", {**DECIMAL, "scale": 2})),
            ["meaning"],
            {REPLAY, OLD_READERS},
        ),
        (
            record(field("a", DECIMAL)),
            record(field("a", {**DECIMAL, "precision": 20})),
            ["meaning"],
            {REPLAY, OLD_READERS},
        ),
        # Meaning.
        (change(), change(unit="W"), ["meaning"], {REPLAY, OLD_READERS}),
        (change(), change(unit=None), ["meaning"], {REPLAY, OLD_READERS}),
        (change(), change(label=True), ["label"], {REPLAY, OLD_READERS}),
        (record(OTHER), record(OTHER, name="Else"), ["name"], {REPLAY, OLD_READERS}),
        # Bounds: narrower refuses old values, wider is refused by old readers.
        (change(), change(minimum=1), ["bounds"], {REPLAY}),
        (change(), change(maximum=9.5), ["bounds"], {REPLAY}),
        (change(maximum=None), change(), ["bounds"], {REPLAY}),
        (change(), change(minimum=-1), ["bounds"], {OLD_READERS}),
        (change(), change(maximum=None), ["bounds"], {OLD_READERS}),
        (change(), change(minimum=1, maximum=11), ["bounds", "bounds"], {REPLAY, OLD_READERS}),
        # Two things about one field.
        (change(), change(unit="W", maximum=10_000), ["meaning", "bounds"], {REPLAY, OLD_READERS}),
    ],
)
def test_a_change_that_breaks_is_found_with_its_victims(
    older: Record, newer: Record, kinds: list[str], broken: set[str]
) -> None:
    found = incompatibilities(older, newer)
    assert [breakage.kind for breakage in found] == kinds
    assert {victim for breakage in found for victim in breakage.broken} == broken


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (record(OTHER), record(OTHER, field("c", nullable=True))),
        (record(OTHER, field("c", nullable=True)), record(OTHER)),
        (record(OTHER, field("c")), record(field("c"), OTHER)),
        (change(), change(doc="Other words.")),
        (change(), change(minimum=0.0)),
    ],
)
def test_a_change_that_breaks_nobody_is_allowed(older: Record, newer: Record) -> None:
    assert incompatibilities(older, newer) == []
    assert incompatibilities(newer, older) == []


def test_a_sentence_names_field_versions_victims_and_remedy() -> None:
    (breakage,) = incompatibilities(record(OTHER), record(OTHER, field("phase")))
    assert sentence(breakage, RAW, "v1", "v2") == (
        "raw_data: field phase: v2 requires it and v1 lacks it: a replay with v2 (clickhouse, stream_processing) "
        'cannot read what v1 wrote. To mend it, make it nullable (["null", …] with default null), '
        "or declare a new dataset."
    )


def test_every_pair_of_versions_is_compared_not_only_neighbours() -> None:
    first = record(OTHER, field("c", nullable=True, unit="kW"))
    without = record(OTHER)
    again = record(OTHER, field("c", nullable=True, unit="W"))
    dataset = replace(RAW, versions={1: first, 2: without, 3: again})
    (found,) = transitive_incompatibilities(dataset)
    assert "its unit is kW in v1 and W in v3" in found


def test_the_declared_contracts_are_compatible() -> None:
    for dataset in load_datasets().values():
        assert transitive_incompatibilities(dataset) == []


def test_what_a_reader_may_meet_is_refused_only_for_what_it_would_misread() -> None:
    assert misread(record(field("a", "int")), record(field("a", "long"))) == []
    assert misread(record(field("a")), record(field("a", nullable=True))) == []
    assert misread(change(), change(maximum=1, label=True)) == []
    assert [b.kind for b in misread(change(), change(unit="W"))] == ["meaning"]
    assert [b.kind for b in misread(record(field("a", "long")), record(field("a", "int")))] == ["type"]
    assert [b.kind for b in misread(record(OTHER), record(OTHER, field("c")))] == ["missing"]


# Against an oracle that knows nothing of ours: Avro's own resolution, by writing and reading values.


CANNOT_READ = (SchemaResolutionError, TypeError, UnicodeDecodeError)


def physical(of: Record) -> Any:
    """The schema as Avro's primitive types."""
    raw = json.loads(of.schema)
    for each in raw["fields"]:
        kinds = each["type"] if isinstance(each["type"], list) else [each["type"]]
        plain = [kind["type"] if isinstance(kind, dict) else kind for kind in kinds]
        each["type"] = plain if isinstance(each["type"], list) else plain[0]
    return fastavro.parse_schema(raw)


def as_bytes(of: Record, sent: dict[str, Any]) -> dict[str, Any]:
    decimals = {f.name for f in of.fields if f.type == "decimal"}
    return {
        name: value.to_bytes(17, "big", signed=True) if name in decimals and value is not None else value
        for name, value in sent.items()
    }


def resolve(writer: Record, reader: Record, sent: dict[str, Any]) -> Any:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, physical(writer), as_bytes(writer, sent))
    stream.seek(0)
    return fastavro.schemaless_reader(stream, physical(writer), physical(reader))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Record, Record]:
    """A record, and the same after up to three edits."""
    older = draw(fields())
    newer = [dict(each) for each in older]
    for _ in range(draw(st.integers(0, 3))):
        edit = draw(st.sampled_from(["add", "remove", "retype", "null", "reorder"]))
        position = draw(st.integers(0, len(newer) - 1))
        name = newer[position]["name"]
        nullable, kind = isinstance(newer[position]["type"], list), draw(st.sampled_from(TYPES))
        if edit == "add" and not any(each["name"] == "epsilon" for each in newer):
            newer.insert(position, field("epsilon", kind, nullable=draw(st.booleans())))
        elif edit == "remove" and len(newer) > 1:
            del newer[position]
        elif edit == "retype":
            newer[position] = field(name, kind, nullable=nullable)
        elif edit == "null":
            bare = newer[position]["type"][1] if nullable else newer[position]["type"]
            newer[position] = field(name, bare, nullable=not nullable)
        elif edit == "reorder":
            newer = draw(st.permutations(newer))
    return record(*older), record(*newer)


@unhurried
@given(pairs(), st.data())
def test_what_we_call_compatible_avro_reads_without_loss(pair: tuple[Record, Record], data: st.DataObject) -> None:
    older, newer = pair
    found = incompatibilities(older, newer)
    for writer, reader, victim in ((older, newer, REPLAY), (newer, older, OLD_READERS)):
        if any(victim in breakage.broken for breakage in found):
            continue
        sent = data.draw(values(writer))
        got = resolve(writer, reader, sent)
        wrote = as_bytes(writer, sent)
        assert set(got) == {f.name for f in reader.fields}
        assert same([wrote.get(name) for name in got], list(got.values()))


@unhurried
@given(pairs(), st.data())
def test_what_avro_cannot_read_we_call_incompatible(pair: tuple[Record, Record], data: st.DataObject) -> None:
    older, newer = pair
    for writer, reader, victim in ((older, newer, REPLAY), (newer, older, OLD_READERS)):
        try:
            resolve(writer, reader, data.draw(values(writer)))
        except CANNOT_READ:
            assert any(victim in breakage.broken for breakage in incompatibilities(older, newer))


def breaks_avro(breakage: Breakage) -> bool:
    return breakage.kind in ("missing", "type")


@unhurried
@given(pairs(), st.data())
def test_what_we_say_avro_cannot_read_it_cannot(pair: tuple[Record, Record], data: st.DataObject) -> None:
    older, newer = pair
    victims = {victim for found in incompatibilities(older, newer) if breaks_avro(found) for victim in found.broken}
    for writer, reader, victim in ((older, newer, REPLAY), (newer, older, OLD_READERS)):
        if victim in victims:
            sent = data.draw(values(writer, nulls=False))
            with pytest.raises(CANNOT_READ):
                resolve(writer, reader, sent)
