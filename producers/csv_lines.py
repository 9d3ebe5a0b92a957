"""Lines of a CSV file as columns of readings, and a fault for each unreadable line.

A reading's `sequence` is the number of its line among its meter's lines, from 0. Missing and unreadable readings are
counted, so they show as gaps; a line that repeats the one before is not. A local time that occurs twice (clocks going
back) means the first instant, unless that is not later than the meter's line before.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from infra.base.clock import instant
from infra.base.columns import I64, Column, take
from infra.base.errors import SmartmeterError
from producers.local_time import Utc, parser, time_parser, to_utc
from producers.settings import CsvOptions
from producers.validation import broken_rules, violations
from schemas.avro import Record

T = TypeVar("T")
Rows = list[list[str]]

KILOWATTS: dict[str, Callable[[float], float]] = {
    "W": lambda value: value / 1000,
    "kW": lambda value: value,
    "MW": lambda value: value * 1000,
}
BEFORE_ALL = -(2**62)
NOBODY = -1
"""The meter of a line whose id cannot be read."""


@dataclass(frozen=True)
class Fault:
    """Why a line is unreadable. `column` is empty if the whole line is at fault; `kind` groups faults of one cause."""

    row: int
    column: str
    value: str
    problem: str
    kind: str

    def __str__(self) -> str:
        named = f"{self.column} is " if self.column else ""
        return f"{named}{self.value!r}: {self.problem}"


@dataclass(frozen=True)
class Lost:
    """One line that is left out: its number in the file, its meter (NOBODY: not known), and why."""

    line: int
    meter_id: int
    fault: Fault


@dataclass(frozen=True)
class Batch:
    """The readings of some lines."""

    columns: dict[str, Column]
    """Readings in the file's order; columns as the newest MeterEvent has them, `status` 0: the truth is unknown.
    `timestamp` is the start of the interval where lines stand for one."""
    missing: int
    unreadable: int
    repeated: int = 0
    """Lines that say again what their meter's line before says."""
    lost: tuple[Lost, ...] = ()
    """The unreadable lines."""
    steps_ms: tuple[int, ...] = ()
    """Times between the readings of one meter that follow each other."""
    lines_of: Mapping[int, int] = field(default_factory=dict)
    """Lines by meter that have a reading."""


@dataclass
class _Carried:
    """What later lines need to know of earlier ones, by meter."""

    lines_of: dict[int, int] = field(default_factory=dict)
    clock_ms_of: dict[int, int] = field(default_factory=dict)
    """Of the last line whose time is known, with a reading or without."""
    last_ms_of: dict[int, int] = field(default_factory=dict)
    """Of the last line with a reading."""
    last_values_of: dict[int, tuple[float, ...]] = field(default_factory=dict)


def column_numbers(path: Path, options: CsvOptions, header: Sequence[str]) -> dict[str, int]:
    """Where the columns that the options name are, from 0. Raises SmartmeterError where one is absent or ambiguous."""
    numbers = {}
    for name in wanted_columns(options):
        places = [number for number, each in enumerate(header) if each == name]
        if name.startswith("#") and name[1:].isdigit() and 0 < int(name[1:]) <= len(header) and not places:
            places = [int(name[1:]) - 1]
        if len(places) > 1:
            choices = " or ".join(f"#{place + 1}" for place in places)
            raise SmartmeterError(f"{path}: {len(places)} columns are named {name!r}; say which: {choices}")
        if not places:
            raise SmartmeterError(
                f"{path}: no column {name!r}; the header, split at {options.separator!r}, has "
                f"{', '.join(header) or 'nothing'}: name the columns and the separator with the options"
            )
        numbers[name] = places[0]
    return numbers


def wanted_columns(options: CsvOptions) -> list[str]:
    """The columns that the options name."""
    named = [options.date_column, options.time_column, options.power_column]
    named += [options.voltage_column, options.meter_column, options.building_column]
    return [name for name in named if name is not None]


class LineParser:
    """Turns lines into batches. It remembers of earlier lines what later ones depend on.

    A line later than `latest_ms` is unreadable: its clock is wrong.
    """

    def __init__(
        self, path: Path, options: CsvOptions, record: Record, header: Sequence[str], latest_ms: int | None = None
    ) -> None:
        self._path, self._options, self._record, self._header = path, options, record, list(header)
        self._width = len(header)
        self._index = column_numbers(path, options, header)
        self._timestamp = next(field for field in record.fields if field.name == "timestamp")
        self._latest_ms = latest_ms
        self._carried = _Carried()
        self._date = parser(options.date_format)
        self._time = time_parser(options.time_format)

    def batch(self, rows: Rows, lines: Sequence[int]) -> Batch:
        """The readings of the next lines; `lines` are their numbers in the file."""
        faults: list[Fault] = []
        alive = np.array([len(row) == self._width for row in rows])
        self._refuse_widths(rows, alive, faults)
        given = alive & ~self._missing(rows)
        missing = alive & ~given
        meter = self._ids(rows, self._options.meter_column, self._options.meter_id, given, faults)
        building = self._ids(rows, self._options.building_column, self._options.building_id, given, faults)
        counted = alive & (meter != NOBODY)
        timestamp = self._timestamps(rows, meter, given, missing, faults)
        columns: dict[str, Column] = {
            "meter_id": meter.astype(np.int32),
            "building_id": building.astype(np.int32),
            "timestamp": timestamp,
            "power_kw": self._power(rows, given, faults),
            "voltage_v": self._voltage(rows, given, faults),
            "status": np.zeros(len(rows), dtype=np.int32),
        }
        self._refuse(columns, given, faults)
        order = _Order(self, rows, columns, faults)
        for number, of_meter in _by_meter(meter, np.flatnonzero(given)):
            order.judge(number, of_meter, given)
        counted[order.repeated] = False
        columns["sequence"] = self._sequence(meter, counted)
        if self._options.stamp == "end":
            columns["timestamp"] = timestamp - (self._options.interval_ms or 0)
        faults.sort(key=lambda fault: fault.row)
        if faults and self._options.on_error == "stop":
            raise SmartmeterError(
                f"{self._path} line {lines[faults[0].row]}: {faults[0]}; mend the line, or leave such lines out with "
                "--on-error skip"
            )
        return Batch(
            take(columns, given),
            int(missing.sum()),
            len(faults),
            len(order.repeated),
            tuple(Lost(lines[fault.row], int(meter[fault.row]), fault) for fault in faults),
            tuple(order.steps_ms),
            {number: len(of_meter) for number, of_meter in _by_meter(meter, np.flatnonzero(given))},
        )

    def _refuse_widths(self, rows: Rows, alive: NDArray[np.bool_], faults: list[Fault]) -> None:
        for row in np.flatnonzero(~alive).tolist():
            text = self._options.separator.join(rows[row])
            problem = f"{len(rows[row])} fields, the header has {self._width}"
            faults.append(Fault(row, "", text, problem, "another number of fields than the header"))
            rows[row] = [""] * self._width

    def _texts(self, rows: Rows, column: str) -> list[str]:
        index = self._index[column]
        return [row[index] for row in rows]

    def _ids(self, rows: Rows, column: str | None, constant: int, given: NDArray[np.bool_], faults: list[Fault]) -> I64:
        if column is None:
            return np.full(len(rows), constant, dtype=np.int64)
        problem = "not a whole number from 0 to 2147483647"
        texts = self._texts(rows, column)
        return np.array(_converted(texts, _id, NOBODY, column, problem, "id", given, faults), dtype=np.int64)

    def _sequence(self, meter: I64, counted: NDArray[np.bool_]) -> I64:
        """Each line's number among its meter's lines that are counted."""
        sequence = np.zeros(len(meter), dtype=np.int64)
        for number, of_meter in _by_meter(meter, np.flatnonzero(counted)):
            before = self._carried.lines_of.get(number, 0)
            sequence[of_meter] = before + np.arange(len(of_meter))
            self._carried.lines_of[number] = before + len(of_meter)
        return sequence

    def _timestamps(
        self, rows: Rows, meter: I64, given: NDArray[np.bool_], missing: NDArray[np.bool_], faults: list[Fault]
    ) -> I64:
        """The instants of all lines; faults are those of `given` lines. A line without a reading needs no time, but
        if it has one, that tells which of two equal hours it is."""
        options = self._options
        known = given | missing
        local, is_utc = self._clock_times(rows, given, known, faults)
        utc = to_utc(np.where(is_utc, 0, local), options.timezone)
        jumped = known & ~is_utc & (utc.first > utc.second)
        for row in np.flatnonzero(given & jumped).tolist():
            problem = f"clocks in {options.timezone} jump over this time"
            faults.append(self._time_fault(rows, row, problem, "clocks jump over this time"))
        given &= ~jumped
        known &= ~jumped
        chosen = np.where(is_utc, local, self._first_or_second(utc, meter, known & ~is_utc))
        self._refuse_times(rows, chosen, given, faults)
        return chosen

    def _clock_times(
        self, rows: Rows, given: NDArray[np.bool_], known: NDArray[np.bool_], faults: list[Fault]
    ) -> tuple[I64, NDArray[np.bool_]]:
        """What the lines' clocks show, in ms since 1970, and whether it is UTC; `known` loses those that show none."""
        options = self._options
        form = f"not of the form {options.date_format}"
        texts = self._texts(rows, options.date_column)
        moments = _converted(texts, self._date, None, options.date_column, form, "form of a time", given, faults)
        known &= np.array([moment is not None for moment in moments])
        local = np.array([moment.ms if moment else 0 for moment in moments], dtype=np.int64)
        is_utc = np.array([moment is not None and moment.is_utc for moment in moments])
        if options.time_column is not None:
            form = f"not of the form {options.time_format}"
            texts = self._texts(rows, options.time_column)
            times = _converted(texts, self._time, None, options.time_column, form, "form of a time", given, faults)
            known &= np.array([time is not None for time in times])
            local += np.array([time or 0 for time in times], dtype=np.int64)
        return local, is_utc

    def _first_or_second(self, utc: Utc, meter: I64, known: NDArray[np.bool_]) -> I64:
        """Of two possible instants the first, unless it is not later than the meter's line before."""
        chosen = utc.first.copy()
        clock_ms_of = self._carried.clock_ms_of
        rows = np.flatnonzero(known)
        if (utc.first[rows] < utc.second[rows]).any():
            for row in rows.tolist():
                number = int(meter[row])
                if utc.first[row] < utc.second[row] and utc.first[row] <= clock_ms_of.get(number, BEFORE_ALL):
                    chosen[row] = utc.second[row]
                clock_ms_of[number] = int(chosen[row])
        else:
            for number, of_meter in _by_meter(meter, rows):
                clock_ms_of[number] = int(chosen[of_meter[-1]])
        return chosen

    def _refuse_times(self, rows: Rows, timestamp: I64, given: NDArray[np.bool_], faults: list[Fault]) -> None:
        """Refuse instants out of contract, and those that are yet to come, before the order of lines is judged."""
        for violation in broken_rules(self._timestamp, timestamp, given):
            for row in violation.rows.tolist():
                problem = f"{instant(int(timestamp[row]))}, {violation.rule}"
                faults.append(self._time_fault(rows, row, problem, "time out of contract"))
                given[row] = False
        if self._latest_ms is not None:
            for row in np.flatnonzero(given & (timestamp > self._latest_ms)).tolist():
                problem = f"{instant(int(timestamp[row]))} is yet to come"
                faults.append(self._time_fault(rows, row, problem, "time yet to come"))
                given[row] = False

    def _time_fault(self, rows: Rows, row: int, problem: str, kind: str) -> Fault:
        return Fault(row, self._options.date_column, self._time_text(rows[row]), problem, kind)

    def _time_text(self, row: list[str]) -> str:
        named = (self._options.date_column, self._options.time_column)
        return " ".join(row[self._index[name]] for name in named if name is not None)

    def _missing(self, rows: Rows) -> NDArray[np.bool_]:
        """Lines whose power or voltage is missing."""
        marks = frozenset(self._options.missing)
        columns = [self._options.power_column, self._options.voltage_column]
        missing = np.zeros(len(rows), dtype=np.bool_)
        for column in columns:
            if column is not None:
                missing |= np.array([text.strip() in marks for text in self._texts(rows, column)])
        return missing

    def _power(self, rows: Rows, given: NDArray[np.bool_], faults: list[Fault]) -> Column:
        unit = self._options.power_unit
        to_kw = KILOWATTS[unit.removesuffix("h")]
        hours = (self._options.interval_s or 0) / 3600
        scale = (lambda value: to_kw(value) / hours) if unit.endswith("h") else to_kw
        return self._numbers(rows, self._options.power_column, scale, given, faults)

    def _voltage(self, rows: Rows, given: NDArray[np.bool_], faults: list[Fault]) -> Column:
        if self._options.voltage_column is None:
            return np.full(len(rows), self._options.voltage_v, dtype=np.float64)
        return self._numbers(rows, self._options.voltage_column, lambda volts: volts, given, faults)

    def _numbers(
        self,
        rows: Rows,
        column: str,
        scale: Callable[[float], float],
        given: NDArray[np.bool_],
        faults: list[Fault],
    ) -> Column:
        decimal = self._options.decimal

        def number(text: str) -> float:
            if "_" in text or (decimal != "." and "." in text):  # Python's grouping, or that of thousands
                raise ValueError(text)
            return scale(float(text.replace(decimal, ".")))

        problem = f"not a number with decimal {decimal!r}"
        values = _converted(self._texts(rows, column), number, 0.0, column, problem, "number", given, faults)
        return np.array(values, dtype=np.float64)

    def _refuse(self, columns: dict[str, Column], given: NDArray[np.bool_], faults: list[Fault]) -> None:
        """Refuse what the contract does not allow."""
        rows = np.flatnonzero(given)
        for violation in violations(self._record, take(columns, rows)):
            for row in rows[violation.rows].tolist():
                value = str(columns[violation.field][row])
                faults.append(Fault(row, violation.field, value, violation.rule, f"{violation.field} out of contract"))
                given[row] = False


class _Order:
    """Judges the order of one meter's lines: each later than the one before, by an interval at least if there is one.

    A line that is later than both lines after it, which themselves go on from the line before, is the one at fault.
    """

    def __init__(self, lines: LineParser, rows: Rows, columns: dict[str, Column], faults: list[Fault]) -> None:
        self._lines, self._rows, self._columns, self._faults = lines, rows, columns, faults
        self._interval_ms = lines._options.interval_ms or 1
        self.repeated: list[int] = []
        self.steps_ms: list[int] = []

    def judge(self, meter: int, rows: NDArray[np.intp], given: NDArray[np.bool_]) -> None:
        """Take the lines of a meter that are at fault, or repeat one, out of `given`."""
        carried = self._lines._carried
        times = self._columns["timestamp"][rows]
        last_ms = carried.last_ms_of.get(meter, BEFORE_ALL)
        steps = np.diff(times, prepend=last_ms)
        if (steps >= self._interval_ms).all():
            kept = rows
        else:
            kept = np.array(list(self._in_order(meter, rows.tolist(), times.tolist(), last_ms)), dtype=np.intp)
            given[np.setdiff1d(rows, kept)] = False
            steps = np.diff(self._columns["timestamp"][kept], prepend=last_ms)
        if kept.size:
            self.steps_ms += steps[1 if last_ms == BEFORE_ALL else 0 :].tolist()
            carried.last_ms_of[meter] = int(self._columns["timestamp"][kept[-1]])
            carried.last_values_of[meter] = self._values(int(kept[-1]))

    def _in_order(self, meter: int, rows: list[int], times: list[int], last_ms: int) -> Iterator[int]:
        """The rows that stay."""
        last_values = self._lines._carried.last_values_of.get(meter, ())
        following = zip([*times[1:], last_ms], [*times[2:], last_ms, last_ms][: len(times)], strict=True)
        for row, time, after in zip(rows, times, following, strict=True):
            if time == last_ms and self._values(row) == last_values:
                self.repeated.append(row)
            elif time == last_ms:
                self._refuse(row, f"meter {meter} has another reading of this instant already", "contradictory")
            elif time < last_ms:
                problem = f"earlier than a line before of meter {meter} ({instant(last_ms)}); sort the file by time"
                self._refuse(row, problem, "out of order")
            elif time - last_ms < self._interval_ms:
                self._refuse(row, f"within the interval of the line before ({instant(last_ms)})", "overlapping")
            elif last_ms < min(after) and max(after) < time:
                problem = f"{instant(time)}, later than the lines after of meter {meter} ({instant(after[0])}, …)"
                self._refuse(row, problem, "out of order")
            else:
                yield row
                last_ms, last_values = time, self._values(row)

    def _values(self, row: int) -> tuple[float, ...]:
        return tuple(float(self._columns[name][row]) for name in ("building_id", "power_kw", "voltage_v"))

    def _refuse(self, row: int, problem: str, kind: str) -> None:
        self._faults.append(self._lines._time_fault(self._rows, row, problem, kind))


def _by_meter(meter: I64, rows: NDArray[np.intp]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each meter among the rows with its rows, in their order."""
    ordered = rows[np.argsort(meter[rows], kind="stable")]
    for of_meter in np.split(ordered, np.flatnonzero(np.diff(meter[ordered])) + 1):
        if of_meter.size:
            yield int(meter[of_meter[0]]), of_meter


def _id(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**31 or "_" in text:
        raise ValueError(text)
    return number


def _converted(
    texts: Sequence[str],
    convert: Callable[[str], T],
    placeholder: T,
    column: str,
    problem: str,
    kind: str,
    given: NDArray[np.bool_],
    faults: list[Fault],
) -> list[T]:
    """Convert every text, each distinct one once. A text that cannot be converted gives the placeholder, and a fault if
    its line is still `given`."""
    known: dict[str, T] = {}
    unreadable = set()
    for text in set(texts):
        try:
            known[text] = convert(text)
        except (ValueError, OverflowError):
            unreadable.add(text)
    if not unreadable:
        return [known[text] for text in texts]
    for row in np.flatnonzero(given).tolist():
        if texts[row] in unreadable:
            faults.append(Fault(row, column, texts[row], problem, f"{kind} of {column}"))
            given[row] = False
    return [known.get(text, placeholder) for text in texts]
