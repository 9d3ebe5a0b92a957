import struct
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.avro import Record
from schemas.codec import Decoder, Encoder, Undecodable, to_millis, with_datetimes
from schemas.framing import frame
from schemas.manifest import load_datasets
from schemas.registry import RegistryUnavailable
from tests.unit.records import DECIMAL, TIMESTAMP, field, fields, record, unhurried, values

RAW = load_datasets()["raw_data"]
READING = {
    "meter_id": 1203,
    "building_id": 12,
    "timestamp": 1_795_460_370_000,
    "power_kw": 0.412,
    "voltage_v": 231.2,
    "status": 2,
}


class Schemas:
    """A registry in memory; `down` makes it unreachable."""

    def __init__(self, known: dict[int, str]) -> None:
        self.known = known
        self.down = False
        self.asked = 0

    def schema_by_id(self, schema_id: int) -> str | None:
        self.asked += 1
        if self.down:
            raise RegistryUnavailable("down")
        return self.known.get(schema_id)


def raw_decoder() -> tuple[Decoder, Schemas]:
    schemas = Schemas({number: version.schema for number, version in RAW.versions.items()})
    return Decoder(RAW.latest, schemas), schemas


def zigzag(number: int) -> bytes:
    """An Avro long, by the specification's own words."""
    rest, out = (number << 1) ^ (number >> 63), bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


def test_the_bytes_are_those_of_the_specification() -> None:
    body = b"".join(
        [zigzag(1203), zigzag(12), zigzag(1_795_460_370_000), struct.pack("<dd", 0.412, 231.2), zigzag(2)],
    )
    assert Encoder(RAW.versions[1], 1).encode(READING) == b"\x00\x00\x00\x00\x01" + body
    with_sequence = Encoder(RAW.versions[2], 2).encode(READING | {"sequence": 7})
    assert with_sequence == b"\x00\x00\x00\x00\x02" + body + zigzag(1) + zigzag(7)


def test_versions_mixed_in_one_topic_decode_to_the_newest() -> None:
    decoder, schemas = raw_decoder()
    old, new = Encoder(RAW.versions[1], 1), Encoder(RAW.versions[2], 2)
    messages = [old.encode(READING), new.encode(READING | {"sequence": 5}), old.encode(READING), new.encode(READING)]
    assert [decoder.decode(message) for message in messages] == [
        {**READING, "sequence": sequence} for sequence in (None, 5, None, None)
    ]
    assert schemas.asked == 2


@unhurried
@given(st.data(), fields())
def test_what_is_encoded_is_decoded(data: st.DataObject, drawn: list[dict[str, Any]]) -> None:
    of = record(*drawn)
    sent = data.draw(values(of))
    message = Encoder(of, 7).encode(sent)
    assert Decoder(of, Schemas({7: of.schema})).decode(message) == sent


@unhurried
@given(st.integers(-(10**38) + 1, 10**38 - 1))
@example(-128)
@example(127)
@example(128)
@example(-(2**63))
def test_decimals_are_big_endian_in_the_fewest_bytes(number: int) -> None:
    message = Encoder(record(field("a", DECIMAL)), 1).encode({"a": number})
    length, body = message[5] // 2, message[6:]
    assert (len(body), int.from_bytes(body, "big", signed=True)) == (length, number)
    if length > 1:  # one byte fewer would not hold it
        with pytest.raises(OverflowError):
            number.to_bytes(length - 1, "big", signed=True)


def test_a_decimal_with_digits_after_the_point_keeps_all_of_them() -> None:
    of = record(field("a", {**DECIMAL, "scale": 4}))
    number = Decimal("-1234567890123456789012345678901234.5678")
    assert Decoder(of, Schemas({1: of.schema})).decode(Encoder(of, 1).encode({"a": number})) == {"a": number}


@unhurried
@given(st.binary(max_size=60))
def test_any_bytes_give_a_record_or_a_reason(body: bytes) -> None:
    decoder, _ = raw_decoder()
    for schema_id in (1, 2):
        try:
            decoded = decoder.decode(frame(schema_id, body))
        except Undecodable as error:
            assert str(error)
        else:
            assert list(decoded) == [f.name for f in RAW.latest.fields]


GOOD = Encoder(RAW.versions[1], 1).encode(READING)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (None, "tombstone"),
        (b"", "empty value"),
        (b"\x01" + GOOD[1:], "magic byte"),
        (GOOD[:5], "body ends before the record of schema 1 does"),
        (GOOD[:-1], "body ends before"),
        (GOOD + b"\x00\x00", "2 bytes follow the record of schema 1"),
        (frame(9, GOOD[5:]), "schema id 9 is unknown to the registry"),
        (frame(1, zigzag(2**31) + GOOD[7:]), "field meter_id of schema 1 is an int and holds 2147483648"),
    ],
)
def test_a_message_that_cannot_be_read_says_why(message: bytes | None, reason: str) -> None:
    decoder, _ = raw_decoder()
    with pytest.raises(Undecodable, match=reason):
        decoder.decode(message)


def test_a_text_that_is_not_utf_8_is_the_messages_fault() -> None:
    of = record(field("a", "string"))
    with pytest.raises(Undecodable, match="does not hold a record of schema 1"):
        Decoder(of, Schemas({1: of.schema})).decode(frame(1, b"\x04\xff\xfe"))


def test_an_id_registered_meanwhile_is_picked_up() -> None:
    decoder, schemas = raw_decoder()
    of_v2 = schemas.known.pop(2)
    message = Encoder(RAW.versions[2], 2).encode(READING)
    with pytest.raises(Undecodable, match="unknown"):
        decoder.decode(message)
    schemas.known[2] = of_v2
    assert decoder.decode(message) == {**READING, "sequence": None}


def test_a_registry_that_is_down_is_not_the_messages_fault() -> None:
    decoder, schemas = raw_decoder()
    schemas.down = True
    with pytest.raises(RegistryUnavailable):
        decoder.decode(GOOD)
    schemas.down = False
    decoded = decoder.decode(GOOD)
    schemas.down = True
    assert decoder.decode(GOOD) == decoded, "an id that is known needs no registry"


READER = record(field("a", "double", unit="kW"), field("t", TIMESTAMP))


@pytest.mark.parametrize(
    ("writer", "reason"),
    [
        (record(field("a", "double", unit="W"), field("t", TIMESTAMP)), "a: its unit is W in schema 1 and kW in the"),
        (record(field("a", "double", unit="kW"), field("t", "long")), "t: its type is long in schema 1"),
        (record(field("t", TIMESTAMP)), "a: the reader requires it and schema 1 lacks it"),
        (record(field("a", "double", unit="kW"), field("t", TIMESTAMP), name="Other"), "named test.Other"),
    ],
)
def test_a_writer_that_avro_would_misread_is_refused(writer: Record, reason: str) -> None:
    with pytest.raises(Undecodable, match=reason):
        Decoder(READER, Schemas({1: writer.schema})).decode(frame(1, b"\x00" * 16))


def test_microseconds_are_not_read_as_milliseconds() -> None:
    micros = READER.schema.replace("timestamp-millis", "timestamp-micros")
    with pytest.raises(Undecodable, match="timestamp-micros"):
        Decoder(READER, Schemas({1: micros})).decode(frame(1, b"\x00" * 16))


@pytest.mark.parametrize("text", ["{", '"string"', '{"type": "record"}', "syntax = proto3;"])
def test_a_schema_that_is_no_contract_is_the_messages_fault_every_time(text: str) -> None:
    schemas = Schemas({1: text})
    decoder = Decoder(READER, schemas)
    for _ in range(2):
        with pytest.raises(Undecodable, match="schema 1"):
            decoder.decode(frame(1, b"\x00"))
    assert schemas.asked == 1


@pytest.mark.parametrize(
    "values",
    [
        {"meter_id": 1.5},
        {"meter_id": "7"},
        {"meter_id": 2**31},
        {"meter_id": None},
        {"timestamp": datetime(2026, 11, 23)},
        {"timestamp": 1.5},
        {"power_kw": "0.4"},
        {"colour": "red"},
    ],
)
def test_values_that_the_type_cannot_hold_are_not_encoded(values: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Encoder(RAW.latest, 2).encode(READING | values)


def test_a_missing_field_is_null_where_it_may_be_and_an_error_elsewhere() -> None:
    encoder = Encoder(RAW.latest, 2)
    assert encoder.encode(READING) == encoder.encode(READING | {"sequence": None})
    with pytest.raises(ValueError, match="meter_id"):
        encoder.encode({name: value for name, value in READING.items() if name != "meter_id"})


@unhurried
@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(timezone(timedelta(hours=2)))))
def test_instants_are_cut_to_milliseconds_as_avro_does(instant: datetime) -> None:
    of = record(field("t", TIMESTAMP))
    millis = to_millis(instant)
    assert with_datetimes({"t": millis}, of) == {"t": instant - timedelta(microseconds=instant.microsecond % 1000)}
    reference = BytesIO()
    fastavro.schemaless_writer(
        reference, {"type": "record", "name": "T", "fields": [field("t", "long")]}, {"t": millis}
    )
    assert Encoder(of, 1).encode({"t": instant}) == frame(1, reference.getvalue())
    assert with_datetimes({"t": millis}, of)["t"].tzinfo is UTC
