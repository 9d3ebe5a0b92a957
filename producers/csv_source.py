"""Real readings from a file of lines and columns, in constant memory.

Each meter's lines must be in the order of time. Meters may take turns, or come one after the other; but then what comes
later is late to the stream, and `smartmeter repair --late` makes it whole.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np

from infra.base.columns import length
from infra.base.errors import SmartmeterError
from producers.csv_lines import NOBODY, Batch, LineParser, Lost, wanted_columns
from producers.csv_text import opened
from producers.intervals import NEVER, TimeOrder, hold_ms, spread
from producers.settings import CsvOptions
from schemas.avro import Record

BATCH_LINES = 50_000
HEADER_WITHIN = 200
"""Lines in which the header must be."""
FIRST = 3
"""Lines of each kind of fault that are named."""
MOST_STEPS = 1_000
NumberedRow = tuple[int, list[str]]


@dataclass(frozen=True)
class Contents:
    """What a whole file holds; times in ms since 1970, None without a reading."""

    readings: int = 0
    """That are sent: several for a line that stands for longer than a reading holds."""
    missing: int = 0
    unreadable: int = 0
    meters: frozenset[int] = frozenset()
    buildings: frozenset[int] = frozenset()
    first_ms: int | None = None
    last_ms: int | None = None
    repeated: int = 0
    losses: str = ""
    """What was left out: by kind, with the first lines of each, and by meter."""


@dataclass
class _Losses:
    """Lines that are left out."""

    path: Path
    kinds: dict[str, list[Lost]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    lost_of: Counter[int] = field(default_factory=Counter)
    lines_of: Counter[int] = field(default_factory=Counter)

    def add(self, batch: Batch) -> None:
        self.lines_of.update(batch.lines_of)
        for lost in batch.lost:
            first = self.kinds.setdefault(lost.fault.kind, [])
            if len(first) < FIRST:
                first.append(lost)
            self.counts[lost.fault.kind] += 1
            self.lost_of[lost.meter_id] += 1
            self.lines_of[lost.meter_id] += 1

    def __str__(self) -> str:
        sentences = []
        for kind, count in self.counts.most_common():
            named = "; ".join(f"line {lost.line}: {lost.fault}" for lost in self.kinds[kind])
            sentences.append(f"{count:,} left out, {kind}: {named}{'; …' if count > FIRST else ''}")
        for meter, count in self.lost_of.most_common(FIRST):
            of_meter = "lines without a meter" if meter == NOBODY else f"meter {meter}"
            sentences.append(f"{of_meter}: {count:,} of {self.lines_of[meter]:,} lines left out")
        return "\n".join(sentences)

    def refuse_above(self, limit: float) -> None:
        """Raise where more than this share of a meter's lines, or of all lines, is lost."""
        lost, lines = self.lost_of.total(), self.lines_of.total()
        of_meters = [
            (count / self.lines_of[meter], f"of meter {meter}")
            for meter, count in self.lost_of.items()
            if meter != NOBODY
        ]
        worst, where = max([(lost / max(1, lines), "of the file"), *of_meters])
        if worst > limit:
            raise SmartmeterError(
                f"{self.path}: {worst:.0%} of the lines {where} cannot be used, at most {limit:.0%} may be left out; "
                f"nothing was sent. Mend the file or the options, or raise --max-lost\n{self}"
            )


@dataclass
class _Steps:
    """Times between a meter's readings."""

    counts: Counter[int] = field(default_factory=Counter)
    longer: int = 0
    """How many are longer than a reading holds."""
    total: int = 0

    def add(self, steps_ms: Sequence[int]) -> None:
        self.total += len(steps_ms)
        self.longer += sum(step > hold_ms() for step in steps_ms)
        self.counts.update(steps_ms)
        if len(self.counts) > MOST_STEPS:
            self.counts = Counter(dict(self.counts.most_common(MOST_STEPS // 2)))

    def refuse_unsaid(self, path: Path) -> None:
        """Raise where the median step is longer than a reading holds."""
        if 2 * self.longer > self.total:
            [(step_ms, _)] = self.counts.most_common(1)
            minutes = f"{step_ms // 60_000}m" if step_ms % 60_000 == 0 else f"{step_ms // 1000}s"
            raise SmartmeterError(
                f"{path}: readings are {step_ms / 1000:g} s apart, and the power of one holds for at most "
                f"{hold_ms() / 1000:g} s: the energy of most of the time would be lost. Say how long a line stands for "
                f"with --interval, for example --interval {minutes}; --stamp end if its time is the interval's end; "
                "and --power-unit kWh if the column is energy"
            )


def contents(path: Path, options: CsvOptions, record: Record, latest_ms: int | None = None) -> Contents:
    """Read the whole file once without keeping it.

    Raises as `batches` does; also where more is left out than `max_lost_share`, and where readings are further apart
    than one holds and the options do not say how long a line stands for.
    """
    total, losses, steps = Contents(), _Losses(path), _Steps()
    for batch in batches(path, options, record, latest_ms):
        losses.add(batch)
        steps.add(batch.steps_ms)
        times = batch.columns["timestamp"]
        limits = [ms for ms in (total.first_ms, total.last_ms) if ms is not None]
        limits += [int(times.min()), int(times.max())] if len(times) else []
        total = Contents(
            total.readings + len(times),
            total.missing + batch.missing,
            total.unreadable + batch.unreadable,
            total.meters.union(np.unique(batch.columns["meter_id"]).tolist()),
            total.buildings.union(np.unique(batch.columns["building_id"]).tolist()),
            min(limits, default=None),
            max(limits, default=None),
            total.repeated + batch.repeated,
        )
    losses.refuse_above(options.max_lost_share)
    if options.interval_s is None:
        steps.refuse_unsaid(path)
    return replace(total, losses=str(losses))


def batches(path: Path, options: CsvOptions, record: Record, latest_ms: int | None = None) -> Iterator[Batch]:
    """The readings of a file as they are sent, each within the contract `record`.

    They are in the order of time as far as lines near each other allow. A line that stands for an interval gives
    several (`producers.intervals`). An unreadable line raises SmartmeterError, which names file, line, column, value
    and what to do. Unreadable is a line that cannot be parsed, breaks the contract, is later than `latest_ms`, or is
    not later than its meter's line before; one that repeats that line is counted, and so is a missing reading. With
    `on_error="skip"` unreadable lines are left out and told. A file that is empty, damaged, not text, or lacks a column
    raises SmartmeterError, too.
    """
    order, begun_ms = TimeOrder(), NEVER
    for batch in _batches_of_lines(path, options, record, latest_ms):
        times = batch.columns["timestamp"]
        begun_ms = max(begun_ms, int(times.max())) if len(times) else begun_ms
        readings = order.take(spread(batch.columns, options.interval_ms), begun_ms)
        yield replace(batch, columns=readings)
    rest = order.rest()
    if length(rest):
        yield Batch(rest, 0, 0)


def _batches_of_lines(path: Path, options: CsvOptions, record: Record, latest_ms: int | None) -> Iterator[Batch]:
    with opened(path, options.encoding) as text:
        reader = csv.reader(text, delimiter=options.separator)
        try:
            # reader.line_num is read as each line comes: blank lines and quoted line ends count too.
            numbered = ((reader.line_num, row) for row in reader if row)
            header, data = _header(options, numbered)
            parse = LineParser(path, options, record, header, latest_ms)
            while lines := list(islice(data, BATCH_LINES)):
                yield parse.batch([row for _, row in lines], [number for number, _ in lines])
        except csv.Error as error:
            raise SmartmeterError(f"{path} line {reader.line_num}: {error}; is the separator right?") from error


def _header(options: CsvOptions, rows: Iterator[NumberedRow]) -> tuple[list[str], Iterator[NumberedRow]]:
    """The header, and the lines of data after it; a header that comes again is none of them.

    The header is the first line that has all columns that are named; what stands before it is passed over.
    """
    first = list(islice(rows, HEADER_WITHIN))
    if not options.header:
        width = len(first[0][1]) if first else 0
        return [f"#{number + 1}" for number in range(width)], chain(first, rows)
    names = {name for name in wanted_columns(options) if not re.fullmatch(r"#\d+", name)}
    stripped = [[cell.strip() for cell in row] for _, row in first]
    place = next((number for number, row in enumerate(stripped) if names <= set(row)), 0)
    header = stripped[place] if stripped else []
    data = chain(first[place + 1 :], rows)
    return header, (each for each in data if each[1][0].strip() != header[0] or [c.strip() for c in each[1]] != header)
