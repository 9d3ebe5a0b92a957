"""Lines to readings: forms of numbers and times, ids, order, and faults that name file, line, column and value."""

import csv
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.base.errors import SmartmeterError
from producers.csv_lines import Batch, LineParser
from producers.settings import CsvOptions
from schemas.manifest import load_datasets
from tests.unit.records import unhurried

RECORD = load_datasets()["raw_data"].latest
FILE = Path("readings.csv")
MIDNIGHT = 1_166_313_600_000
"""2006-12-17T00:00:00Z"""
MINUTE = 60_000
SIMPLE = {"separator": ",", "date_column": "at", "date_format": "unix", "time_column": None, "power_column": "kw"}
NO_VOLTAGE: dict[str, Any] = {**SIMPLE, "voltage_column": None, "voltage_v": 230.0}
METERS: dict[str, Any] = {**NO_VOLTAGE, "meter_column": "meter", "building_column": "building"}


def parse(text: str, *cuts: int, **options: Any) -> Batch:
    """The readings of a file's text; the lines are given in parts that end at the cuts, counted in lines of data."""
    settings = CsvOptions(**options)
    header, *rows = csv.reader(text.splitlines(), delimiter=settings.separator)
    parser = LineParser(FILE, settings, RECORD, header)
    bounds = [0, *cuts, len(rows)]
    parts = [parser.batch(rows[first:end], range(first + 2, end + 2)) for first, end in pairwise(bounds) if end > first]
    names = parts[0].columns
    return Batch(
        {name: np.concatenate([part.columns[name] for part in parts]) for name in names},
        sum(part.missing for part in parts),
        sum(part.unreadable for part in parts),
    )


UCI = """Date;Time;Global_active_power;Global_reactive_power;Voltage
17/12/2006;00:00:00;1.044;0.152;242.730
17/12/2006;00:01:00;?;?;?
17/12/2006;00:02:00;1.520;0.220;?
17/12/2006;00:03:00;3.038;0.194;240.150
"""


def test_the_form_of_uci_needs_no_options() -> None:
    batch = parse(UCI)
    assert (batch.missing, batch.unreadable) == (2, 0)
    assert {name: values.tolist() for name, values in batch.columns.items()} == {
        "meter_id": [1_000_001, 1_000_001],
        "building_id": [1_000_001, 1_000_001],
        "timestamp": [MIDNIGHT, MIDNIGHT + 3 * MINUTE],
        "power_kw": [1.044, 3.038],
        "voltage_v": [242.73, 240.15],
        "status": [0, 0],
        "sequence": [0, 3],
    }
    assert [values.dtype.str for values in batch.columns.values()] == ["<i4", "<i4", "<i8", "<f8", "<f8", "<i4", "<i8"]


@pytest.mark.parametrize("mark", ["", "n/a", " n/a "])
def test_other_marks_of_what_is_missing(mark: str) -> None:
    batch = parse(f"at,kw\n0,1\n5,{mark}\n10,2\n", **NO_VOLTAGE, missing=("", "n/a"))
    assert batch.missing == 1
    assert batch.columns["sequence"].tolist() == [0, 2]


@pytest.mark.parametrize(("unit", "expected_kw"), [("W", 0.0015), ("kW", 1.5), ("MW", 1500.0)])
def test_units(unit: str, expected_kw: float) -> None:
    if unit == "MW":
        with pytest.raises(SmartmeterError, match=r"power_kw is '1500\.0': above the contract's maximum 1000"):
            parse("at,kw\n0,1.5\n", **NO_VOLTAGE, power_unit=unit)
        parsed = parse("at,kw\n0,0.15\n", **NO_VOLTAGE, power_unit=unit).columns["power_kw"]
        assert parsed.tolist() == [150.0]
    else:
        assert parse("at,kw\n0,1.5\n", **NO_VOLTAGE, power_unit=unit).columns["power_kw"].tolist() == [expected_kw]


def test_decimal_comma() -> None:
    text = "at;kw;Voltage\n0;1,5;230,25\n5;-2;231\n"
    columns = parse(text, **{**SIMPLE, "separator": ";"}, decimal=",").columns
    assert columns["power_kw"].tolist() == [1.5, -2.0]
    assert columns["voltage_v"].tolist() == [230.25, 231.0]


@pytest.mark.parametrize("text", ["1.234", "1.234,5"])
def test_a_point_is_no_decimal_where_the_comma_is_one(text: str) -> None:
    with pytest.raises(SmartmeterError, match="not a number with decimal ','"):
        parse(f"at;kw\n0;{text}\n", **{**NO_VOLTAGE, "separator": ";"}, decimal=",")


@unhurried
@given(st.lists(st.floats(-1000, 1000), min_size=1, max_size=20))
def test_numbers_are_those_that_python_wrote(numbers: list[float]) -> None:
    lines = "".join(f"{second},{number!r}\n" for second, number in enumerate(numbers))
    assert parse("at,kw\n" + lines, **NO_VOLTAGE).columns["power_kw"].tolist() == numbers


def test_several_meters_take_turns_and_count_their_own_lines() -> None:
    text = "at,kw,meter,building\n0,1,8,3\n0,2,9,3\n5,?,8,3\n5,3,9,4\n10,4,8,3\n10,5,9,4\n"
    for cuts in ((), (1,), (3,), (1, 2, 3, 4, 5)):
        batch = parse(text, *cuts, **METERS)
        assert batch.columns["meter_id"].tolist() == [8, 9, 9, 8, 9]
        assert batch.columns["building_id"].tolist() == [3, 3, 4, 3, 4]
        assert batch.columns["sequence"].tolist() == [0, 0, 1, 2, 2]
        assert batch.missing == 1


def paris(*local: str, cuts: tuple[int, ...] = (), **options: Any) -> Batch:
    lines = "".join(f"{text},1\n" for text in local)
    form = {**NO_VOLTAGE, "date_format": "iso", "timezone": "Europe/Paris"}
    return parse("at,kw\n" + lines, *cuts, **{**form, **options})


@pytest.mark.parametrize("cuts", [(), (1,), (2,), (3,), (1, 2, 3, 4)])
def test_of_an_hour_that_is_there_twice_the_order_of_the_lines_tells(cuts: tuple[int, ...]) -> None:
    """2006-10-29 in Paris: 2:00 to 3:00 came twice, first at 0:00 UTC, then at 1:00 UTC."""
    day = 1_162_080_000_000
    batch = paris(*(f"2006-10-29T{time}" for time in ("01:30", "02:30", "02:30", "02:45", "03:00")), cuts=cuts)
    assert ((batch.columns["timestamp"] - day) // MINUTE).tolist() == [-30, 30, 90, 105, 120]


def test_a_meter_that_is_silent_in_the_first_of_both_hours_is_taken_to_be_in_it() -> None:
    batch = paris("2006-10-29T01:30", "2006-10-29T02:45", "2006-10-29T03:00")
    assert ((batch.columns["timestamp"] - 1_162_080_000_000) // MINUTE).tolist() == [-30, 45, 120]


def test_times_with_an_offset_are_taken_as_they_say() -> None:
    batch = paris("2006-10-29T02:30:00+02:00", "2006-10-29T02:30:00+01:00", "2006-10-29T01:45:00Z")
    assert ((batch.columns["timestamp"] - 1_162_080_000_000) // MINUTE).tolist() == [30, 90, 105]


def test_a_time_that_clocks_jump_over_is_unreadable() -> None:
    with pytest.raises(
        SmartmeterError, match=r"csv line 3: at is '2007-03-25T02:30': clocks in Europe/Paris jump over"
    ):
        paris("2007-03-25T01:59", "2007-03-25T02:30", "2007-03-25T03:00")


def test_unix_times_do_not_depend_on_the_time_zone() -> None:
    batch = parse("at,kw\n1174786200,1\n", **{**NO_VOLTAGE, "timezone": "Europe/Paris"})
    assert batch.columns["timestamp"].tolist() == [1_174_786_200_000]


FAULTY = [
    ("17/12/2006;00:00:30;1.x;0;240", r"Global_active_power is '1\.x': not a number with decimal '\.'"),
    ("17/12/2006;00:00:30;1;0;nan", "voltage_v is 'nan': not a finite number"),
    ("17/12/2006;00:00:30;1_0;0;240", "Global_active_power is '1_0': not a number"),
    ("17/12/2006;00:00:30;1;0;1000.5", r"voltage_v is '1000\.5': above the contract's maximum 1000"),
    ("12/17/2006;00:01:00;1;0;240", "Date is '12/17/2006': not of the form %d/%m/%Y"),
    ("17/12/2006;25:01:00;1;0;240", "Time is '25:01:00': not of the form %H:%M:%S"),
    (
        "16/12/2006;00:01:00;1;0;240",
        r"Date is '16/12/2006 00:01:00': earlier than a line before of meter 1000001 \(2006-12-17T00:00:00Z\)",
    ),
    ("17/12/2006;00:00:00;1;0;240", "Date is '17/12/2006 00:00:00': meter 1000001 has another reading of this instant"),
    ("17/12/2106;00:00:00;1;0;240", "Date is '17/12/2106 00:00:00': 2106-12-17T00:00:00Z, above the contract's max"),
    ("17/12/1906;00:00:00;1;0;240", "Date is '17/12/1906 00:00:00': 1906-12-17T00:00:00Z, below the contract's min"),
    ("17/12/2006;00:00:30;1;0", "'17/12/2006;00:00:30;1;0': 4 fields, the header has 5"),
    ("17/12/2006;00:00:30;1;0;240;", "'17/12/2006;00:00:30;1;0;240;': 6 fields, the header has 5"),
]


@pytest.mark.parametrize(("line", "message"), FAULTY)
def test_an_unreadable_line_is_named(line: str, message: str) -> None:
    first, second, *rest = UCI.splitlines()
    text = "\n".join([first, second, line, *rest])
    with pytest.raises(
        SmartmeterError, match=rf"readings\.csv line 3: {message}.*; mend the line, or leave .* --on-error"
    ):
        parse(text)
    batch = parse(text, on_error="skip")
    assert (batch.unreadable, batch.missing, len(batch.columns["timestamp"])) == (1, 2, 2)
    assert batch.columns["sequence"].tolist() == [0, 3 if "fields" in message else 4]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("5,1,8.5,3", r"meter is '8\.5': not a whole number from 0 to 2147483647"),
        ("5,1,2147483648,3", "meter is '2147483648': not a whole number"),
        ("5,1,8,-1", "building is '-1': not a whole number"),
        ("1e300,1,8,3", "at is '1e300': not of the form unix"),
        ("99999999999,1,8,3", "at is '99999999999': 5138-11-16T09:46:39Z, above the contract's maximum"),
    ],
)
def test_an_unreadable_id_or_number_of_seconds_is_named(line: str, message: str) -> None:
    text = f"at,kw,meter,building\n0,1,8,3\n{line}\n"
    for zone in ("UTC", "Europe/Paris"):
        with pytest.raises(SmartmeterError, match=f"line 3: {message}"):
            parse(text, **METERS, timezone=zone)
    assert parse(text, **METERS, on_error="skip").unreadable == 1


def test_of_several_faults_the_first_line_is_named() -> None:
    text = "at,kw\n0,1\n5,x\n7;1\n3,1\nsoon,1\n"
    with pytest.raises(SmartmeterError, match="line 3: kw is 'x'"):
        parse(text, **NO_VOLTAGE)
    assert parse(text, **NO_VOLTAGE, on_error="skip").unreadable == 3


def test_disorder_is_noticed_between_batches_too() -> None:
    """Of each meter by itself: meters may follow each other in the file."""
    text = "at,kw,meter,building\n0,1,8,3\n10,1,9,3\n10,2,9,3\n5,1,8,3\n4,1,8,3\n10,2,9,3\n20,1,8,3\n"
    for cuts in ((), (1,), (2,), (3,), (4,), (5,)):
        batch = parse(text, *cuts, **METERS, on_error="skip")
        assert batch.unreadable == 3
        assert list(zip(batch.columns["meter_id"].tolist(), batch.columns["timestamp"].tolist(), strict=True)) == [
            (8, 0),
            (9, 10_000),
            (8, 5_000),
            (8, 20_000),
        ]


def test_a_line_that_says_the_same_again_is_no_fault_and_leaves_no_gap() -> None:
    for cuts in ((), (1,), (2,)):
        batch = parse("at,kw\n0,1\n0,1.0\n5,2\n", *cuts, **NO_VOLTAGE)
        assert (batch.unreadable, batch.columns["sequence"].tolist()) == (0, [0, 1])
    with pytest.raises(SmartmeterError, match="line 3: at is '0': meter 1000001 has another reading of this instant"):
        parse("at,kw\n0,1\n0,1.5\n5,2\n", **NO_VOLTAGE)


def test_the_line_that_all_later_ones_contradict_is_the_one_at_fault() -> None:
    text = "at,kw\n0,1\n5,1\n900,1\n10,1\n15,1\n"
    with pytest.raises(SmartmeterError, match=r"line 4: at is '900': 1970-01-01T00:15:00Z, later than the lines after"):
        parse(text, **NO_VOLTAGE)
    batch = parse(text, **NO_VOLTAGE, on_error="skip")
    assert (batch.unreadable, batch.columns["timestamp"].tolist()) == (1, [0, 5_000, 10_000, 15_000])


def test_a_missing_reading_is_missing_whatever_else_its_line_says() -> None:
    """Its time may be out of order, or none at all."""
    batch = parse("at,kw,meter,building\n10,1,8,3\n3,,8,3\nsoon,?,8,3\n11,?,x,3\n20,1,8,3\n", **METERS)
    assert (batch.missing, batch.unreadable, batch.columns["sequence"].tolist()) == (3, 0, [0, 3])


@pytest.mark.parametrize(
    ("changes", "absent"),
    [({"power_column": "Power"}, "Power"), ({"meter_column": "meter"}, "meter"), ({"time_column": "Hour"}, "Hour")],
)
def test_a_column_that_is_not_there_is_named_with_those_that_are(changes: dict[str, str], absent: str) -> None:
    message = f"no column '{absent}'; the header, split at ';', has Date, Time, Global_active_power, Global_reactive"
    with pytest.raises(SmartmeterError, match=message):
        parse(UCI, **changes)
