"""Lines of a CSV file as columns of readings, and a fault for each unreadable line.

A reading's `sequence` is the number of its line among its meter's lines, from 0. Missing and unreadable readings are
counted, so they show as gaps. A local time that occurs twice (clocks going back) means the first instant, unless that
is not later than the meter's line before.
"""

from collections.abc import Callable, Iterator, Sequence
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


@dataclass(frozen=True)
class Batch:
    """The readings of some lines."""

    columns: dict[str, Column]
    """Readings in the file's order; columns as the newest MeterEvent has them, `status` 0: the truth is unknown."""
    missing: int
    unreadable: int


@dataclass(frozen=True)
class Fault:
    """Why a line is unreadable. `column` is empty if the whole line is at fault."""

    row: int
    column: str
    value: str
    problem: str


@dataclass
class _Carried:
    """What later lines need to know of earlier ones."""

    lines_of: dict[int, int] = field(default_factory=dict)
    last_ms_of: dict[int, int] = field(default_factory=dict)
    newest_ms: int = BEFORE_ALL


class LineParser:
    """Turns lines into batches. It remembers of earlier lines what later ones depend on."""

    def __init__(self, path: Path, options: CsvOptions, record: Record, header: Sequence[str]) -> None:
        self._path, self._options, self._record = path, options, record
        self._width = len(header)
        named = [options.date_column, options.time_column, options.power_column]
        named += [options.voltage_column, options.meter_column, options.building_column]
        wanted = [name for name in named if name is not None]
        if absent := [name for name in wanted if name not in header]:
            raise SmartmeterError(
                f"{path}: no column {absent[0]!r}; the header, split at {options.separator!r}, has "
                f"{', '.join(header) or 'nothing'}: name the columns and the separator with the options"
            )
        self._index = {name: header.index(name) for name in wanted}
        self._timestamp = next(field for field in record.fields if field.name == "timestamp")
        self._carried = _Carried()
        self._date = parser(options.date_format)
        self._time = time_parser(options.time_format)

    def batch(self, rows: Rows, lines: Sequence[int]) -> Batch:
        """The readings of the next lines; `lines` are their numbers in the file."""
        faults: list[Fault] = []
        alive = np.array([len(row) == self._width for row in rows])
        for row in np.flatnonzero(~alive).tolist():
            text = self._options.separator.join(rows[row])
            faults.append(Fault(row, "", text, f"{len(rows[row])} fields, the header has {self._width}"))
            rows[row] = [""] * self._width
        meter = self._ids(rows, self._options.meter_column, self._options.meter_id, alive, faults)
        building = self._ids(rows, self._options.building_column, self._options.building_id, alive, faults)
        sequence = self._sequence(meter, alive)
        timestamp = self._timestamps(rows, meter, alive, faults)
        given = alive & ~self._missing(rows)
        missing = int((alive & ~given).sum())
        columns: dict[str, Column] = {
            "meter_id": meter.astype(np.int32),
            "building_id": building.astype(np.int32),
            "timestamp": timestamp,
            "power_kw": self._power(rows, given, faults),
            "voltage_v": self._voltage(rows, given, faults),
            "status": np.zeros(len(rows), dtype=np.int32),
            "sequence": sequence,
        }
        self._refuse(columns, given, faults)
        if faults and self._options.on_error == "stop":
            first = min(faults, key=lambda fault: fault.row)
            where = f"{self._path} line {lines[first.row]}: " + (f"{first.column} is " if first.column else "")
            raise SmartmeterError(
                f"{where}{first.value!r}: {first.problem}; mend the line, or leave such lines out with --on-error skip"
            )
        return Batch(take(columns, given), missing, len({fault.row for fault in faults}))

    def _texts(self, rows: Rows, column: str) -> list[str]:
        index = self._index[column]
        return [row[index] for row in rows]

    def _ids(self, rows: Rows, column: str | None, constant: int, alive: NDArray[np.bool_], faults: list[Fault]) -> I64:
        if column is None:
            return np.full(len(rows), constant, dtype=np.int64)
        problem = "not a whole number from 0 to 2147483647"
        return np.array(_converted(self._texts(rows, column), _id, 0, column, problem, alive, faults), dtype=np.int64)

    def _sequence(self, meter: I64, alive: NDArray[np.bool_]) -> I64:
        """Each line's number among its meter's lines. A line without a valid meter is not counted."""
        sequence = np.zeros(len(meter), dtype=np.int64)
        for number, of_meter in _by_meter(meter, np.flatnonzero(alive)):
            before = self._carried.lines_of.get(number, 0)
            sequence[of_meter] = before + np.arange(len(of_meter))
            self._carried.lines_of[number] = before + len(of_meter)
        return sequence

    def _timestamps(self, rows: Rows, meter: I64, alive: NDArray[np.bool_], faults: list[Fault]) -> I64:
        options = self._options
        form = f"not of the form {options.date_format}"
        texts = self._texts(rows, options.date_column)
        moments = _converted(texts, self._date, (0, False), options.date_column, form, alive, faults)
        local = np.array([ms for ms, _ in moments], dtype=np.int64)
        is_utc = np.array([is_utc for _, is_utc in moments])
        if options.time_column is not None:
            form = f"not of the form {options.time_format}"
            times = _converted(
                self._texts(rows, options.time_column), self._time, 0, options.time_column, form, alive, faults
            )
            local += np.array(times, dtype=np.int64)
        utc = to_utc(np.where(is_utc, 0, local), options.timezone)
        for row in np.flatnonzero(alive & ~is_utc & (utc.first > utc.second)).tolist():
            problem = f"clocks in {options.timezone} jump over this time"
            faults.append(Fault(row, options.date_column, self._time_text(rows[row]), problem))
            alive[row] = False
        chosen = np.where(is_utc, local, self._first_or_second(utc, meter, alive & ~is_utc))
        self._refuse_times(rows, chosen, alive, faults)
        self._refuse_disorder(rows, chosen, meter, alive, faults)
        return chosen

    def _first_or_second(self, utc: Utc, meter: I64, alive: NDArray[np.bool_]) -> I64:
        """Of two possible instants the first, unless it is not later than the meter's line before."""
        chosen = utc.first.copy()
        twice = np.flatnonzero(alive & (utc.first < utc.second))
        if not twice.size:
            return chosen
        last_of = dict(self._carried.last_ms_of)
        for row in np.flatnonzero(alive)[: np.searchsorted(np.flatnonzero(alive), twice[-1]) + 1].tolist():
            number = int(meter[row])
            if utc.first[row] < utc.second[row] and utc.first[row] <= last_of.get(number, BEFORE_ALL):
                chosen[row] = utc.second[row]
            last_of[number] = int(chosen[row])
        return chosen

    def _refuse_times(self, rows: Rows, timestamp: I64, alive: NDArray[np.bool_], faults: list[Fault]) -> None:
        """Refuse instants out of contract first: they would make every line after them look out of order."""
        for violation in broken_rules(self._timestamp, timestamp, alive):
            for row in violation.rows.tolist():
                problem = f"{instant(int(timestamp[row]))}, {violation.rule}"
                faults.append(Fault(row, self._options.date_column, self._time_text(rows[row]), problem))
                alive[row] = False

    def _refuse_disorder(
        self, rows: Rows, timestamp: I64, meter: I64, alive: NDArray[np.bool_], faults: list[Fault]
    ) -> None:
        """Refuse lines that go back in time, or that repeat a meter's instant."""
        newest = self._carried.newest_ms
        kept = np.flatnonzero(alive)
        so_far = np.maximum.accumulate(np.concatenate([[newest], timestamp[kept]]))[:-1]
        back = timestamp[kept] < so_far
        for place in np.flatnonzero(back).tolist():
            problem = f"earlier than a line before ({instant(int(so_far[place]))}); sort the file by time"
            faults.append(
                Fault(int(kept[place]), self._options.date_column, self._time_text(rows[kept[place]]), problem)
            )
        alive[kept[back]] = False
        kept = kept[~back]
        for number, of_meter in _by_meter(meter, kept):
            before = np.concatenate([[self._carried.last_ms_of.get(number, BEFORE_ALL)], timestamp[of_meter][:-1]])
            for row in of_meter[timestamp[of_meter] == before].tolist():
                problem = f"meter {number} has a line for this instant already"
                faults.append(Fault(row, self._options.date_column, self._time_text(rows[row]), problem))
                alive[row] = False
            self._carried.last_ms_of[number] = int(timestamp[of_meter[-1]])
        if kept.size:
            self._carried.newest_ms = int(timestamp[kept[-1]])

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
        to_kw = KILOWATTS[self._options.power_unit]
        return self._numbers(rows, self._options.power_column, to_kw, given, faults)

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
        values = _converted(self._texts(rows, column), number, 0.0, column, problem, given, faults)
        return np.array(values, dtype=np.float64)

    def _refuse(self, columns: dict[str, Column], given: NDArray[np.bool_], faults: list[Fault]) -> None:
        """Refuse what the contract does not allow."""
        rows = np.flatnonzero(given)
        for violation in violations(self._record, take(columns, rows)):
            for row in rows[violation.rows].tolist():
                value = str(columns[violation.field][row])
                faults.append(Fault(row, violation.field, value, violation.rule))
                given[row] = False


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
    alive: NDArray[np.bool_],
    faults: list[Fault],
) -> list[T]:
    """Convert every text, each distinct one once. A text that cannot be converted gives the placeholder, and a fault if
    its line has none yet."""
    known: dict[str, T] = {}
    unreadable = set()
    for text in set(texts):
        try:
            known[text] = convert(text)
        except (ValueError, OverflowError):
            unreadable.add(text)
    if not unreadable:
        return [known[text] for text in texts]
    for row in np.flatnonzero(alive).tolist():
        if texts[row] in unreadable:
            faults.append(Fault(row, column, texts[row], problem))
            alive[row] = False
    return [known.get(text, placeholder) for text in texts]
