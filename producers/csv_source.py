"""Real readings from a CSV file with a header, plain or .gz, in constant memory.

Lines must be in the order of time, because the stream's watermark follows the newest reading. Several meters may take
turns.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np

from infra.base.errors import SmartmeterError
from producers.csv_lines import Batch, LineParser
from producers.settings import CsvOptions
from schemas.avro import Record

BATCH_LINES = 50_000


@dataclass(frozen=True)
class Contents:
    """What a whole file holds; times in ms since 1970, None without a reading."""

    readings: int = 0
    missing: int = 0
    unreadable: int = 0
    meters: frozenset[int] = frozenset()
    buildings: frozenset[int] = frozenset()
    first_ms: int | None = None
    last_ms: int | None = None


def contents(path: Path, options: CsvOptions, record: Record) -> Contents:
    """Read the whole file once without keeping it; raises as `batches` does."""
    total = Contents()
    for batch in batches(path, options, record):
        times = batch.columns["timestamp"]
        total = Contents(
            total.readings + len(times),
            total.missing + batch.missing,
            total.unreadable + batch.unreadable,
            total.meters.union(np.unique(batch.columns["meter_id"]).tolist()),
            total.buildings.union(np.unique(batch.columns["building_id"]).tolist()),
            int(times[0]) if total.first_ms is None and len(times) else total.first_ms,
            int(times[-1]) if len(times) else total.last_ms,
        )
    return total


def batches(path: Path, options: CsvOptions, record: Record) -> Iterator[Batch]:
    """The readings of a file, in the file's order, each within the contract `record`.

    An unreadable line raises SmartmeterError, which names file, line, column, value and what to do. Unreadable is a
    line that cannot be parsed, breaks the contract, or is not later than its meter's line before. With
    `on_error="skip"` such lines are counted instead. A file that is empty, damaged, not text, or lacks a column also
    raises SmartmeterError.
    """
    with _opened(path) as text:
        reader = csv.reader(text, delimiter=options.separator)
        try:
            header = [name.strip() for name in next(reader, [])]
            parse = LineParser(path, options, record, header)
            # reader.line_num is read as each line comes: blank lines and quoted line ends count too.
            numbered = ((reader.line_num, row) for row in reader if row)
            while lines := list(islice(numbered, BATCH_LINES)):
                yield parse.batch([row for _, row in lines], [number for number, _ in lines])
        except csv.Error as error:
            raise SmartmeterError(f"{path} line {reader.line_num}: {error}; is the separator right?") from error
        except UnicodeDecodeError as error:
            raise SmartmeterError(f"{path} after line {reader.line_num}: not UTF-8 text; convert the file") from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise SmartmeterError(
                f"{path} after line {reader.line_num}: damaged gzip file ({error}); fetch it again"
            ) from error


def _opened(path: Path) -> TextIO:
    try:
        if path.suffix == ".gz":
            return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise SmartmeterError(f"{path}: cannot be read: {error.strerror or error}") from error
