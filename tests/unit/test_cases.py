"""Files in the forms that people have (tests/cases): what is read of each, and the energy by hour that follows.

The right values were computed by hand or with an independent program.
"""

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from infra.base.columns import Columns, concatenate
from infra.base.deployment import Fleet
from infra.base.errors import SmartmeterError
from producers.csv_source import Contents, batches, contents
from producers.settings import CsvOptions
from schemas.avro import Record
from schemas.manifest import load_datasets, with_limits

CASES = Path(__file__).parents[1] / "cases"
RECORD = load_datasets()["raw_data"].latest
HOUR_MS, HOLD_MS = 3_600_000, 300_000
ONE_COLUMN: dict[str, Any] = {"time_column": None, "voltage_column": None, "voltage_v": 230.0}
ISO: dict[str, Any] = {**ONE_COLUMN, "separator": ",", "date_format": "iso"}
LINZ: dict[str, Any] = {
    **ONE_COLUMN,
    "date_column": "Datum von",
    "date_format": "%d.%m.%Y %H:%M",
    "decimal": ",",
    "timezone": "Europe/Vienna",
    "power_column": "Energiemenge in kWh",
    "power_unit": "kWh",
    "interval_s": 900,
}
OCTOPUS: dict[str, Any] = {
    **ISO,
    "date_column": "Start",
    "power_column": "Consumption (kwh)",
    "power_unit": "kWh",
    "interval_s": 1800,
}
AMEREN: dict[str, Any] = {
    **ONE_COLUMN,
    "separator": ",",
    "date_column": "Start Interval Date/Time",
    "date_format": "%m/%d/%Y %H:%M",
    "timezone": "America/Chicago",
    "meter_column": "Meter Id",
    "power_column": "#6",
    "power_unit": "kWh",
    "interval_s": 900,
    "missing": ("-",),
}
SMA: dict[str, Any] = {
    "separator": ",",
    "date_column": "DD.MM.YYYY hh:mm:ss",
    "date_format": "%d.%m.%Y %H:%M:%S",
    "time_column": None,
    "power_column": "[W]",
    "power_unit": "W",
    "voltage_column": "[V]",
    "missing": ("NaN",),
}
UCI: dict[str, Any] = {**ONE_COLUMN, "date_column": "Time", "date_format": "iso", "decimal": ",", "interval_s": 900}
LCL: dict[str, Any] = {
    **ISO,
    "date_column": "DateTime",
    "meter_column": "LCLid",
    "power_column": "KWH/hh (per half hour)",
    "power_unit": "kWh",
    "interval_s": 1800,
    "missing": ("Null",),
}


def readings(name: str, record: Record = RECORD, **options: Any) -> Columns:
    return concatenate([batch.columns for batch in batches(CASES / name, CsvOptions(**options), record)])


def read(name: str, **options: Any) -> Contents:
    return contents(CASES / name, CsvOptions(**options), RECORD)


def energy_kwh(columns: Columns) -> dict[str, float]:
    """kWh by UTC hour as the contract of the hours has it, with fractions instead of the stream's integers."""
    hours: dict[str, float] = {}
    series = sorted(zip(columns["timestamp"].tolist(), columns["power_kw"].tolist(), strict=True))
    for (at, power), (following, _) in pairwise([*series, (2**62, 0.0)]):
        until = min(following, at + HOLD_MS)
        for number in range(at // HOUR_MS, (until - 1) // HOUR_MS + 1):
            held = min(until, (number + 1) * HOUR_MS) - max(at, number * HOUR_MS)
            hour = f"{datetime.fromtimestamp(3600 * number, UTC):%d %H}h"
            hours[hour] = hours.get(hour, 0.0) + power * held / HOUR_MS
    return hours


def test_quarter_hours_in_kwh_over_the_hour_that_comes_twice() -> None:
    expected = {"29 23h": 0.17, "30 00h": 0.06, "30 01h": 0.50, "30 02h": 0.26}
    columns = readings("f04_linz.csv", **LINZ)
    assert energy_kwh(columns) == pytest.approx(expected)
    assert columns["sequence"].tolist() == list(range(48))
    ended = readings("f04_linz.csv", **{**LINZ, "date_column": "Datum bis", "stamp": "end"})
    assert energy_kwh(ended) == pytest.approx(expected)


def test_a_stamp_at_the_end_moves_the_energy_before_it() -> None:
    ended = energy_kwh(readings("f04_linz.csv", **{**LINZ, "stamp": "end"}))
    assert ended["29 22h"] == pytest.approx(0.04)
    assert sum(ended.values()) == pytest.approx(0.99)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("f13_linz_utf16.csv", {}),
        ("f13_linz_latin1.csv", {"power_column": "Energiemenge für Zählpunkt kWh", "encoding": "latin-1"}),
        ("f13.zip", {}),
    ],
)
def test_encodings_and_an_archive(name: str, changes: dict[str, Any]) -> None:
    assert energy_kwh(readings(name, **{**LINZ, **changes})) == energy_kwh(readings("f04_linz.csv", **LINZ))


def test_another_encoding_is_named_with_what_to_do() -> None:
    with pytest.raises(SmartmeterError, match=r"latin1\.csv: not UTF-8 text .* --encoding latin-1"):
        read("f13_linz_latin1.csv", **LINZ)


def test_half_hours_with_offsets_over_a_change_of_clocks() -> None:
    expected = {"26 23h": 0.108, "27 00h": 0.127 + 0.105, "27 01h": 0.2 + 0.3}
    assert energy_kwh(readings("f11_octopus.csv", **OCTOPUS)) == pytest.approx(expected)


def test_until_it_is_said_how_long_a_line_stands_for_the_file_is_refused() -> None:
    unsaid = {**OCTOPUS, "interval_s": None, "power_unit": "kW"}
    with pytest.raises(
        SmartmeterError, match=r"readings are 1800 s apart.* at most 300 s.*--interval 30m; --stamp end"
    ):
        read("f11_octopus.csv", **unsaid)
    with pytest.raises(ValueError, match="kWh is energy: say over which time"):
        CsvOptions(**{**OCTOPUS, "interval_s": None})


def test_a_wide_file_is_read_meter_by_meter() -> None:
    columns = readings("f01b_uci_named.csv", **UCI, power_column="MT_001")
    assert energy_kwh(columns)["30 01h"] == pytest.approx(3.85)
    columns = readings("f01b_uci_named.csv", **UCI, power_column="MT_124", meter_id=124)
    assert energy_kwh(columns)["30 01h"] == pytest.approx((153 + 154 + 155 + 156) / 4)
    assert readings("f01_uci_wide.csv", **{**UCI, "date_column": "#1"}, power_column="MT_124", meter_id=124)[
        "power_kw"
    ].tolist() == pytest.approx(columns["power_kw"].tolist())


def test_the_limit_of_power_is_the_fleets() -> None:
    options = {**UCI, "power_column": "MT_370", "meter_id": 370}
    with pytest.raises(SmartmeterError, match=r"line 2: power_kw is '7400\.0': above the contract's maximum 1000"):
        read("f01b_uci_named.csv", **options)
    large = with_limits(load_datasets(), Fleet(power_max_kw=10_000))["raw_data"].latest
    columns = readings("f01b_uci_named.csv", large, **options)
    assert energy_kwh(columns)["30 01h"] == pytest.approx((7700 + 7800 + 7900 + 8000) / 4)


def test_lines_before_the_header_and_a_mark_of_the_separator() -> None:
    found = read("f08_sma.csv", **SMA)
    assert (found.readings, found.missing, found.unreadable) == (3, 2, 0)
    assert found == read("f08b_sma_cut.csv", **SMA)
    columns = readings("f08_sma.csv", **SMA)
    assert columns["power_kw"].tolist() == [0.048, 0.108, 0.144]
    assert columns["voltage_v"].tolist() == [231.42, 231.77, 232.01]


@pytest.mark.parametrize("name", ["f09_ameren.csv", "f09b_ameren_cut.csv"])
def test_a_column_name_that_stands_twice(name: str) -> None:
    with pytest.raises(SmartmeterError, match="2 columns are named 'Usage'; say which: #3 or #6"):
        read(name, **{**AMEREN, "power_column": "Usage"})
    found = read(name, **AMEREN)
    assert (found.readings, found.missing, found.unreadable) == (6 * 3, 0, 0)
    columns = readings(name, **AMEREN)
    assert sorted({round(power / 4, 9) for power in columns["power_kw"].tolist()}) == [0.43, 0.51, 0.52, 0.56]
    assert energy_kwh(columns) == pytest.approx({"10 07h": 0.56 + 0.51 + 0.52 + 0.51, "10 08h": 0.51 + 0.43})
    hourly = read(name, **{**AMEREN, "power_column": "#3", "interval_s": 3600})
    assert (hourly.readings, hourly.missing) == (2 * 12, 4)


def test_sorted_by_meter_with_repeats_and_a_missing_reading() -> None:
    found = read("f02b_lcl_numeric.csv", **LCL)
    assert (found.readings, found.missing, found.repeated, found.unreadable) == (2 * 6 * 6, 1, 2, 0)
    assert found.meters == {2, 246}
    columns = readings("f02b_lcl_numeric.csv", **LCL)
    assert sum(energy_kwh({k: v[columns["meter_id"] == 2] for k, v in columns.items()}).values()) == pytest.approx(
        2.061
    )
    assert columns["timestamp"].tolist() == sorted(columns["timestamp"].tolist())  # both meters as one series


def test_no_header() -> None:
    options = {**ONE_COLUMN, "separator": " ", "header": False, "date_column": "#1", "date_format": "unix"}
    found = read("f12_redd_channel_1.dat", **options, power_column="#2", power_unit="W")
    assert (found.readings, found.first_ms) == (20, 1_303_132_929_000)


def test_feed_in_keeps_its_sign() -> None:
    options = {
        **SMA,
        "date_column": "time",
        "date_format": "iso",
        "power_column": "power_w",
        "voltage_column": "voltage",
    }
    assert sum(energy_kwh(readings("b01_feed_in.csv", **options)).values()) == pytest.approx(-0.625306, abs=5e-7)


def test_a_line_in_the_future_is_refused_by_itself() -> None:
    options = CsvOptions(**ISO, date_column="time", power_column="kw")
    file, now_ms = CASES / "b08_future_clock.csv", 1_764_115_200_000  # 2025-11-26
    with pytest.raises(SmartmeterError, match=r"line 8: time is '2035-07-02T10:01:00Z': .* is yet to come"):
        contents(file, options, RECORD, now_ms)
    found = contents(file, options.model_copy(update={"on_error": "skip"}), RECORD, now_ms)
    assert (found.readings, found.unreadable) == (12, 1)
    assert "1 left out, time yet to come: line 8: time is '2035" in found.losses
    assert "meter 1000001: 1 of 13 lines left out" in found.losses


def test_midnight_as_24_hours_and_a_leap_second() -> None:
    options = {**UCI, "date_column": "date", "date_format": "%d.%m.%Y", "time_column": "time", "interval_s": 1800}
    found = read("b12_midnight.csv", **options, power_column="kw")
    assert (found.readings, found.first_ms) == (3 * 6, 1_751_412_600_000)
    with pytest.raises(SmartmeterError, match=r"line 4: time is '2016-12-31T23:59:60Z': not of the form iso"):
        read("b12_leap.csv", **ISO, date_column="time", power_column="kw")
