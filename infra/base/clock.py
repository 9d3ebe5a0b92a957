"""Instants: ms since 1970, datetimes in UTC, and text for people."""

from datetime import UTC, datetime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(timestamp_ms: int) -> str:
    """ISO 8601 in UTC, for people; a number of ms that no calendar holds is shown as it is."""
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{timestamp_ms} ms"
