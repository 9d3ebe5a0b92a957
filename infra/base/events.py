"""Structured logs: one line an event, `key=value` for people and grep, or JSON for programs (SMARTMETER_LOG=json).

    2026-11-25T01:40:00.123Z INFO stream batch grain=meter_30s batch=12 rows=5000 smart-meter-data/0=48210

An event says what happened in a word or two; its fields say to whom and where: topic, partition, offset, reason.
"""

import json
import logging
import os
import re
import sys
from datetime import UTC, datetime
from typing import TextIO

FORMAT_VARIABLE = "SMARTMETER_LOG"
PACKAGES = ("schemas", "producers", "stream_processing", "ml", "clickhouse", "grafana", "infra")
PLAIN = re.compile(r"[^\s\"=]+")


def event(log: logging.Logger, what: str, level: int = logging.INFO, /, **fields: object) -> None:
    """Log one event with its fields; names of fields may be any text, such as `topic/partition`."""
    log.log(level, what, extra={"fields": fields})


def configure(part: str, stream: TextIO | None = None) -> None:
    """Send this process's events to `stream` (stderr), each with the name of its part."""
    handler = logging.StreamHandler(stream or sys.stderr)
    as_json = os.environ.get(FORMAT_VARIABLE) == "json"
    handler.setFormatter(JsonFormatter(part) if as_json else LineFormatter(part))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for package in PACKAGES:  # libraries tell what is wrong only
        logging.getLogger(package).setLevel(logging.INFO)


class LineFormatter(logging.Formatter):
    """An event as one line of words and `key=value`."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_value(value)}" for name, value in _fields(self, record).items())
        what = record.getMessage().replace("\n", "\\n")
        return f"{_time(record)} {record.levelname} {self._part} {what}{fields}"


class JsonFormatter(logging.Formatter):
    """An event as one JSON object."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part

    def format(self, record: logging.LogRecord) -> str:
        what = {"at": _time(record), "level": record.levelname, "part": self._part, "event": record.getMessage()}
        return json.dumps({**what, **_fields(self, record)}, default=str, ensure_ascii=False)


def _fields(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, object]:
    fields = dict(getattr(record, "fields", {}))
    if record.exc_info:
        fields["error"] = formatter.formatException(record.exc_info)
    return fields


def _time(record: logging.LogRecord) -> str:
    return f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03}Z"


def _value(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
