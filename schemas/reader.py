"""Which messages a consumer of a dataset accepts: those that decode, keep to the bounds, and are not from the future.

ClickHouse's intake (clickhouse/ddl.py) and the stream judge alike, so this reader gives the rows that the tables hold.
It is stricter in one point, like the models: numbers must be finite.
"""

import math
from collections.abc import Callable
from typing import Any

from schemas.avro import Field, Record
from schemas.codec import Decoder, KnowsSchemas, Undecodable, Values
from schemas.manifest import Dataset

FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""What a datetime can hold: the years 1 to 9999."""


class ContractReader:
    """Reads the messages of one dataset, whatever versions wrote them, to the fields of the newest."""

    def __init__(self, dataset: Dataset, registry: KnowsSchemas) -> None:
        self.record = dataset.latest
        self._decoder = Decoder(dataset.latest, registry)
        self._fault = fault_finder(dataset.latest)
        self._future_tolerance_s = dataset.parameters.get("future_tolerance_s")

    def read(self, message: bytes | None, produced_at_ms: int) -> Values:
        """The record in a message that came into the log at this time. Instants are ints in ms, as in `schemas.codec`.

        Raises Undecodable with the reason (dead-letter it) or RegistryUnavailable (ask again: the message may be
        readable).
        """
        values = self._decoder.decode(message)
        fault = self._fault(values)
        if fault is not None:
            raise Undecodable(fault)
        tolerance_s = self._future_tolerance_s
        if tolerance_s is not None and values["timestamp"] > produced_at_ms + 1000 * tolerance_s:
            raise Undecodable(f"timestamp is more than {tolerance_s:g} s ahead of the log's time")
        return values


def fault_finder(record: Record) -> Callable[[Values], str | None]:
    """A function from values to what is out of contract; None if the model accepts the values."""
    checks = [(f.name, f.type == "double", *_bounds(f), f) for f in record.fields if _can_be_wrong(f)]

    def fault(values: Values) -> str | None:
        for name, is_double, low, high, field in checks:
            value = values[name]
            if value is None:
                continue
            if (is_double and not math.isfinite(value)) or not low <= value <= high:
                return f"{name} is out of contract: {_demand(field)}"
        return None

    return fault


def _can_be_wrong(field: Field) -> bool:
    bounded = field.minimum is not None or field.maximum is not None
    return bounded or field.type in ("double", "timestamp-millis", "decimal")


def _bounds(field: Field) -> tuple[Any, Any]:
    low, high = -math.inf, math.inf
    if field.type == "timestamp-millis":
        low, high = FIRST_MS, LAST_MS
    elif field.type == "decimal":
        high = 10 ** (field.precision - field.scale)
        low, high = (-high + 1, high - 1) if field.scale == 0 else (-high, high)
    if field.minimum is not None:
        low = max(low, field.minimum)
    if field.maximum is not None:
        high = min(high, field.maximum)
    return low, high


def _demand(field: Field) -> str:
    demands = [
        f"{words} {bound}"
        for words, bound in (("at least", field.minimum), ("at most", field.maximum))
        if bound is not None
    ]
    return f"it must be {' and '.join(demands)}" if demands else f"no {field.type} that can be used"
