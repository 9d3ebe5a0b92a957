"""The file in which the last verification of a deployment is kept, for `status` and for metrics."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.base.files import write_whole


def last_verification(data_dir: Path) -> dict[str, Any] | None:
    """The report of the last verification here as plain values, with `at` (seconds since 1970); None without one."""
    path = _file(data_dir)
    report: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return report


def keep(data_dir: Path, report: Mapping[str, Any]) -> None:
    """Keep a report as the last one; at every moment the file holds a whole report."""
    write_whole(_file(data_dir), json.dumps({"at": time.time(), **report}, indent=2) + "\n")


def _file(data_dir: Path) -> Path:
    return data_dir / "verify" / "last.json"
