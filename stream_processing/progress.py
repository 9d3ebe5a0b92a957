"""What the streaming application reports while it runs, for whoever looks. Needs no Spark."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

PART = "stream"


def progress_file(data_dir: Path) -> Path:
    """Where the application reports its state, as JSON.

    `at` (seconds since 1970), `closings` by dataset (see `pace`), and `grains`: what `Application.state` returns.
    """
    return data_dir / "stream" / "progress.json"


def read_progress(data_dir: Path) -> dict[str, Any]:
    """The application's last report, whether or not it still runs; empty if it never ran."""
    path = progress_file(data_dir)
    progress: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return progress


def watermark(data_dir: Path) -> datetime | None:
    """The oldest watermark of any grain in the last report: windows that end later may be open.

    None where a grain has not had a watermark yet.
    """
    grains = read_progress(data_dir).get("grains", {})
    watermarks = [grain["progress"].get("watermark") for grain in grains.values()]
    return min(map(datetime.fromisoformat, watermarks)) if watermarks and all(watermarks) else None
