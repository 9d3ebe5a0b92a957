"""Local times to UTC, against the standard library and against clocks that change."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.local_time import parser, time_parser, to_utc
from tests.unit.records import unhurried

ZONES = ("UTC", "Europe/Paris", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia")
EPOCH = datetime(1970, 1, 1)


def ms(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    """The wall clock's time as if it were UTC."""
    return round(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp() * 1000)


@unhurried
@given(st.datetimes(datetime(1985, 1, 1), datetime(2036, 1, 1)), st.sampled_from(ZONES))
def test_both_instants_are_those_of_the_standard_library(local: datetime, zone: str) -> None:
    local = local.replace(microsecond=local.microsecond // 1000 * 1000)
    wall_ms = (local - EPOCH) // timedelta(milliseconds=1)
    utc = to_utc(np.array([wall_ms]), zone)
    for fold, found in enumerate((utc.first, utc.second)):
        aware = local.replace(tzinfo=ZoneInfo(zone), fold=fold)
        assert found.tolist() == [round(aware.timestamp() * 1000)]


def test_the_hour_that_is_there_twice_has_two_instants() -> None:
    """In Paris clocks went from 3 back to 2 o'clock on 2006-10-29, at 1:00 UTC."""
    utc = to_utc(np.array([ms(2006, 10, 29, 1, 59), ms(2006, 10, 29, 2, 30), ms(2006, 10, 29, 3)]), "Europe/Paris")
    assert utc.first.tolist() == [ms(2006, 10, 28, 23, 59), ms(2006, 10, 29, 0, 30), ms(2006, 10, 29, 2)]
    assert (utc.second - utc.first).tolist() == [0, 3_600_000, 0]


def test_the_hour_that_is_skipped_has_none() -> None:
    """In Paris clocks went from 2 on to 3 o'clock on 2007-03-25."""
    utc = to_utc(np.array([ms(2007, 3, 25, 1, 59), ms(2007, 3, 25, 2), ms(2007, 3, 25, 3)]), "Europe/Paris")
    assert (utc.first > utc.second).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("iso", "2006-12-17T00:01:02.345", (ms(2006, 12, 17, 0, 1) + 2345, False)),
        ("iso", " 2006-12-17 00:01 ", (ms(2006, 12, 17, 0, 1), False)),
        ("iso", "2006-12-17T00:01:00+01:00", (ms(2006, 12, 16, 23, 1), True)),
        ("iso", "2006-12-17T00:01:00Z", (ms(2006, 12, 17, 0, 1), True)),
        ("unix", "1166313600.5", (1_166_313_600_500, True)),
        ("unix-ms", "1166313600500", (1_166_313_600_500, True)),
        ("%d/%m/%Y", "17/12/2006", (ms(2006, 12, 17), False)),
        ("%d.%m.%y %H:%M %z", "17.12.06 00:01 +0100", (ms(2006, 12, 16, 23, 1), True)),
    ],
)
def test_forms(form: str, text: str, expected: tuple[int, bool]) -> None:
    assert parser(form)(text) == expected


@pytest.mark.parametrize(
    ("form", "text"),
    [("iso", "2025-07-01T24:00:00"), ("%d.%m.%Y %H:%M", "01.07.2025 24:00"), ("%Y-%m-%d %H%M", "2025-07-01 2400")],
)
def test_24_hours_are_the_end_of_the_day(form: str, text: str) -> None:
    assert parser(form)(text) == parser("iso")("2025-07-02T00:00:00")
    assert time_parser("%H:%M:%S")("24:00:00") == 86_400_000
