import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickhouse.dead_letters.letter import (
    CONNECT,
    REDRIVEN,
    Letter,
    NotALetter,
    Origin,
    all_headers,
    original_headers,
    parse_letter,
    parse_origin,
    redriven_from,
)
from infra.base.errors import SmartmeterError
from infra.commands.dead_letters import hex_lines
from tests.unit.records import unhurried

ORIGIN = Origin("smart-meter-data", 3, 1234)
NAMES = st.text(min_size=1, max_size=8).filter(lambda name: not name.startswith(("__connect.errors.", "smartmeter.")))
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=8)), max_size=5)


def letter_with(headers: list[tuple[str, bytes | None]]) -> Letter:
    return Letter(ORIGIN, b"building_1", b"bytes", tuple(headers), 1_700_000_000_123, "clickhouse-raw_data", "wrong: é")


@unhurried
@given(HEADERS)
def test_the_originals_headers_come_back_as_they_were(headers: list[tuple[str, bytes | None]]) -> None:
    letter = letter_with(headers)
    assert original_headers(all_headers(letter)) == headers
    assert parse_letter(letter.key, letter.value, all_headers(letter), letter.produced_at_ms) == letter


def test_the_headers_are_those_of_kafka_connect() -> None:
    said = dict(all_headers(letter_with([])))
    assert said["__connect.errors.topic"] == b"smart-meter-data"
    assert (said["__connect.errors.partition"], said["__connect.errors.offset"]) == (b"3", b"1234")
    assert said["__connect.errors.exception.message"] == "wrong: é".encode()
    assert {name.removeprefix("__connect.errors.") for name in said if name.startswith("__connect")} == {
        *("topic", "partition", "offset", "connector.name", "task.id", "stage", "class.name"),
        *("exception.class.name", "exception.message"),
    }


def test_of_a_name_that_stands_twice_the_last_counts() -> None:
    """A message that was a dead letter elsewhere before brings headers of the same names."""
    earlier = [(f"{CONNECT}topic", b"elsewhere"), (f"{CONNECT}offset", b"7"), ("trace", b"1")]
    headers = [*earlier, *all_headers(letter_with([]))]
    found = parse_letter(None, b"", headers, 0)
    assert (found.origin, found.headers) == (ORIGIN, (("trace", b"1"),))


@pytest.mark.parametrize("missing", ["topic", "partition", "offset"])
def test_without_a_position_it_is_no_letter(missing: str) -> None:
    headers = [pair for pair in all_headers(letter_with([])) if pair[0] != f"{CONNECT}{missing}"]
    for broken in (headers, [*headers, (f"{CONNECT}{missing}", None)]):
        with pytest.raises(NotALetter):
            parse_letter(b"k", b"v", broken, 0)


def test_a_note_is_told_from_a_letter() -> None:
    assert redriven_from([(REDRIVEN, str(ORIGIN).encode())]) == "smart-meter-data:3:1234"
    assert redriven_from(all_headers(letter_with([]))) is None


def test_a_name_is_the_position() -> None:
    assert parse_origin(str(ORIGIN)) == ORIGIN
    for nonsense in ("", "topic", "topic:1", "topic:1:", "topic:-1:2", ":1:2", "topic:1:2:3"):
        with pytest.raises(SmartmeterError, match="topic:partition:offset"):
            parse_origin(nonsense)


def test_bytes_are_shown_by_the_row() -> None:
    assert hex_lines(b"\x00bad\xff" * 4) == [
        "00000000  00 62 61 64 ff 00 62 61 64 ff 00 62 61 64 ff 00  .bad..bad..bad..",
        "00000010  62 61 64 ff                                      bad.",
    ]
