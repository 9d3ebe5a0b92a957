"""Files of readings: plain or compressed, whole or damaged, and the real week."""

import gzip
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.base.columns import concatenate
from infra.base.errors import SmartmeterError
from producers import csv_source
from producers.csv_source import Contents, batches, contents
from producers.settings import CsvOptions
from schemas.manifest import load_datasets

RECORD = load_datasets()["raw_data"].latest
REAL_WEEK = Path(__file__).parents[3] / "shared" / "data" / "uci_household_power_2006-12-17_to_23.csv.gz"
HEADER = "Date;Time;Global_active_power;Voltage\n"
MIDNIGHT = 1_166_313_600_000
DAY_LINES = [f"17/12/2006;{minute // 60:02}:{minute % 60:02}:00;{minute / 1000};240.5\n" for minute in range(1440)]


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def read(path: Path, **options: Any) -> Contents:
    return contents(path, CsvOptions(**options), RECORD)


@pytest.mark.parametrize("name", ["day.csv", "day.csv.gz"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_file_is_read_whatever_its_wrapping(tmp_path: Path, name: str, encoding: str, line_end: str) -> None:
    text = (HEADER + "".join(DAY_LINES)).replace("\n", line_end)
    expected = Contents(1440, 0, 0, frozenset({1_000_001}), frozenset({1_000_001}), MIDNIGHT, MIDNIGHT + 1439 * 60_000)
    assert read(written(tmp_path / name, text, encoding)) == expected


def test_batches_are_cut_by_lines_and_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_source, "BATCH_LINES", 100)
    path = written(tmp_path / "day.csv", HEADER + "".join(DAY_LINES))
    parts = list(batches(path, CsvOptions(), RECORD))
    assert [len(part.columns["timestamp"]) for part in parts] == [100] * 14 + [40]
    assert np.concatenate([part.columns["power_kw"] for part in parts]).tolist() == [n / 1000 for n in range(1440)]
    assert np.concatenate([part.columns["sequence"] for part in parts]).tolist() == list(range(1440))


def test_blank_lines_and_quoted_line_ends_count_in_line_numbers(tmp_path: Path) -> None:
    text = f'{HEADER}\n{DAY_LINES[0]}\n\n"17/12/2006";00:01:00;"1\n";240\n17/12/2006;00:02:00;broken;240\n'
    path = written(tmp_path / "day.csv", text)
    with pytest.raises(SmartmeterError, match=r"day\.csv line 8: Global_active_power is 'broken'"):
        read(path)
    skipped = read(path, on_error="skip", max_lost_share=0.5)
    assert (skipped.readings, skipped.unreadable) == (2, 1)


def test_spaces_around_the_names_of_columns_do_not_matter(tmp_path: Path) -> None:
    assert read(written(tmp_path / "day.csv", HEADER.replace(";", " ; ") + DAY_LINES[0])).readings == 1


def test_a_tab_separates_too(tmp_path: Path) -> None:
    path = written(tmp_path / "day.csv", (HEADER + DAY_LINES[0]).replace(";", "\t"))
    assert read(path, separator="\t").readings == 1


def test_a_file_with_a_header_only_has_no_readings(tmp_path: Path) -> None:
    assert read(written(tmp_path / "day.csv", HEADER)) == Contents()


@pytest.mark.parametrize("name", ["day.csv", "day.csv.gz"])
def test_an_empty_file_has_no_column(tmp_path: Path, name: str) -> None:
    with pytest.raises(SmartmeterError, match="no column 'Date'; the header, split at ';', has nothing"):
        read(written(tmp_path / name, ""))


def test_the_wrong_separator_is_suspected(tmp_path: Path) -> None:
    with pytest.raises(
        SmartmeterError, match=r"no column 'Date'; the header, split at ',', has Date;Time;Glo.*separator"
    ):
        read(written(tmp_path / "day.csv", HEADER), separator=",")


def test_a_file_that_is_not_there_or_may_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(SmartmeterError, match=r"none\.csv: cannot be read: No such file"):
        read(tmp_path / "none.csv")
    with pytest.raises(SmartmeterError, match="cannot be read: Is a directory"):
        read(tmp_path)


def test_text_in_another_encoding(tmp_path: Path) -> None:
    path = written(tmp_path / "day.csv", HEADER + DAY_LINES[0] + "17/12/2006;zwölf;1;2\n", "latin-1")
    with pytest.raises(SmartmeterError, match=r"day\.csv: not UTF-8 text .*--encoding latin-1"):
        read(path)


def incompressible() -> bytes:
    """A compressed day whose bytes cannot be guessed from one another."""
    noise = random.Random(1)
    lines = [line.replace(";240.5", f";{noise.uniform(230, 250)!r}") for line in DAY_LINES]
    return gzip.compress((HEADER + "".join(lines)).encode())


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[: len(data) // 2] + b"\xff" * 64 + data[len(data) // 2 + 64 :],
        lambda data: data[:-8] + b"\x00" * 8,
        lambda data: data + b"more",
        lambda _: HEADER.encode(),
    ],
    ids=["cut off", "overwritten", "wrong checksum", "something after it", "not compressed"],
)
def test_a_damaged_gzip_file(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "day.csv.gz"
    path.write_bytes(damage(incompressible()))
    with pytest.raises(SmartmeterError, match=r"day\.csv\.gz") as refused:
        read(path, on_error="skip")
    assert "damaged compressed file" in str(refused.value) or "not UTF-8 text" in str(refused.value)


def test_a_field_without_end_suspects_the_separator(tmp_path: Path) -> None:
    path = written(tmp_path / "day.csv", HEADER + '17/12/2006;"' + "x" * 200_000)
    with pytest.raises(SmartmeterError, match=r"line \d+: field larger than field limit .*; is the separator right"):
        read(path)


def test_the_real_week() -> None:
    if not REAL_WEEK.exists():
        pytest.skip(f"the real week is not there: {REAL_WEEK}")
    with gzip.open(REAL_WEEK, "rt") as file:
        lines = [line.rstrip("\n").split(";") for line in file][1:]
    given = [float(line[2]) for line in lines if "?" not in line]
    found = read(REAL_WEEK, timezone="Europe/Paris")
    assert (found.readings, found.missing, found.unreadable) == (10_078, 2, 0)
    assert (found.readings, found.missing) == (len(given), len(lines) - len(given))
    assert found.first_ms == MIDNIGHT - 3_600_000  # midnight in Paris
    assert found.last_ms == MIDNIGHT - 3_600_000 + (7 * 1440 - 1) * 60_000
    power = [part.columns["power_kw"] for part in batches(REAL_WEEK, CsvOptions(timezone="Europe/Paris"), RECORD)]
    assert np.concatenate(power).tolist() == given


def zipped(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(f"{name}.csv", text)
    return path


def test_an_archive_of_one_file_is_read_and_others_are_named(tmp_path: Path) -> None:
    day = HEADER + "".join(DAY_LINES)
    path = zipped(tmp_path / "day.csv", one=day)  # by its first bytes, not by its name
    assert read(path).readings == 1440
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + b"\xff" * 50 + whole[250:])
    with pytest.raises(SmartmeterError, match=r"day\.csv: damaged"):
        read(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SmartmeterError, match=r"day\.csv: damaged zip file"):
        read(path)
    with pytest.raises(SmartmeterError, match=r"a zip archive of 2 files \(a\.csv, b\.csv\): unpack it, import each"):
        read(zipped(tmp_path / "two.zip", a=day, b=day))


@pytest.mark.parametrize(
    ("first", "what"),
    [
        (b"PAR1\x00\x00", "a Parquet file: save it as CSV"),
        (b"BZh91AY", "a bzip2 file: unpack it"),
        ("Date;Time".encode("utf-16-le"), "UTF-16 without a mark; then say --encoding utf-16-le"),
    ],
)
def test_what_is_no_text_is_told_what_it_is(tmp_path: Path, first: bytes, what: str) -> None:
    path = tmp_path / "day.csv"
    path.write_bytes(first)
    with pytest.raises(SmartmeterError, match=what):
        read(path)
    if "UTF-16" in what:
        path.write_bytes((HEADER + DAY_LINES[0]).encode("utf-16-le"))
        assert read(path, encoding="utf-16-le").readings == 1


def test_a_header_that_comes_again_is_no_line_of_data(tmp_path: Path) -> None:
    path = written(tmp_path / "day.csv", HEADER + DAY_LINES[0] + HEADER + "".join(DAY_LINES[1:3]))
    found = read(path)
    assert (found.readings, found.unreadable) == (3, 0)


def test_what_is_left_out_is_told_by_kind_and_by_meter(tmp_path: Path) -> None:
    lines = [f"{60 * n},{m},{'x' if n in bad else 1}\n" for m, bad in ((1, {3}), (2, {4, 5, 6, 7})) for n in range(50)]
    lines.insert(10, "1;2\n")
    path = written(tmp_path / "meters.csv", "at,meter,kw\n" + "".join(lines))
    form: dict[str, Any] = {"separator": ",", "date_column": "at", "date_format": "unix", "time_column": None}
    form |= {"power_column": "kw", "voltage_column": None, "voltage_v": 230.0, "meter_column": "meter"}
    found = read(path, **form, on_error="skip")
    assert (found.readings, found.unreadable) == (95, 6)
    assert found.losses.splitlines() == [
        "5 left out, number of kw: line 5: kw is 'x': not a number with decimal '.'; "
        "line 57: kw is 'x': not a number with decimal '.'; line 58: kw is 'x': not a number with decimal '.'; …",
        "1 left out, another number of fields than the header: line 12: '1;2': 1 fields, the header has 3",
        "meter 2: 4 of 50 lines left out",
        "meter 1: 1 of 50 lines left out",
        "lines without a meter: 1 of 1 lines left out",
    ]
    with pytest.raises(SmartmeterError, match=r"8% of the lines of meter 2 cannot be used, at most 7% "):
        read(path, **form, on_error="skip", max_lost_share=0.07)


def test_most_lines_of_one_meter_lost_is_never_accepted(tmp_path: Path) -> None:
    lines = [f"{60 * n},{m},{'x' if m == 2 and n % 3 else 1}\n" for n in range(60) for m in range(40)]
    path = written(tmp_path / "meters.csv", "at,meter,kw\n" + "".join(lines))
    form: dict[str, Any] = {"separator": ",", "date_column": "at", "date_format": "unix", "time_column": None}
    form |= {"power_column": "kw", "voltage_column": None, "voltage_v": 230.0, "meter_column": "meter"}
    with pytest.raises(SmartmeterError, match="67% of the lines of meter 2 cannot be used, at most 50%"):
        read(path, **form, on_error="skip", max_lost_share=0.5)
    with pytest.raises(ValueError, match=r"less than or equal to 0\.5"):
        CsvOptions(max_lost_share=0.6)


def test_meters_one_after_the_other_come_out_as_one_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a batch; and each meter's own order stays, whatever the batches."""
    lines = [f"{900 * n},{m},1\n" for m in (1, 2) for n in range(20)]
    path = written(tmp_path / "meters.csv", "at,meter,kw\n" + "".join(lines))
    form: dict[str, Any] = {"separator": ",", "date_column": "at", "date_format": "unix", "time_column": None}
    form |= {"power_column": "kw", "voltage_column": None, "voltage_v": 230.0, "meter_column": "meter"}
    options = CsvOptions(**form, interval_s=900)
    for lines_at_once in (50_000, 7):
        monkeypatch.setattr(csv_source, "BATCH_LINES", lines_at_once)
        columns = concatenate([batch.columns for batch in batches(path, options, RECORD)])
        series = columns["timestamp"]
        for meter in (1, 2):
            assert series[columns["meter_id"] == meter].tolist() == [300_000 * n for n in range(60)]
            assert columns["sequence"][columns["meter_id"] == meter].tolist() == list(range(60))
        assert (series.tolist() == sorted(series.tolist())) == (lines_at_once == 50_000)
