"""What `ml predict` remembers from one run to the next: how far it has judged, and with which versions.

The file may be removed: then everything in the topic is judged again, which changes no result (law 3). It must be
removed when the topic is created anew, because positions mean nothing in another topic.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from infra.base.errors import SmartmeterError
from infra.base.files import write_whole


@dataclass(frozen=True)
class Progress:
    """`positions`: by partition, the first offset that is not judged yet. `rebuild_from_ms`: the log's time from which
    rows must be read to rebuild the lag state; None: from the beginning."""

    positions: dict[int, int] = field(default_factory=dict)
    rebuild_from_ms: int | None = None
    versions: tuple[str, ...] = ()
    """Versions that judge, the oldest first."""
    results: int = 0
    """Results emitted so far, repeated ones too."""

    def is_judged(self, partition: int, offset: int) -> bool:
        """Whether the results of this row are in the log."""
        return offset < self.positions.get(partition, 0)


def progress_file(data_dir: Path) -> Path:
    """Where it is kept."""
    return data_dir / "ml" / "predict.json"


def read_progress(path: Path) -> Progress:
    """What was written last; nothing if there is no file. Raises SmartmeterError for a damaged one."""
    if not path.exists():
        return Progress()
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        positions = {int(partition): int(offset) for partition, offset in saved["positions"].items()}
        return Progress(positions, saved["rebuild_from_ms"], tuple(saved["versions"]), int(saved["results"]))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise SmartmeterError(f"{path} is damaged ({error}); remove it, and everything is judged again") from error


def write_progress(path: Path, progress: Progress) -> None:
    """Replace the file in one step."""
    write_whole(path, json.dumps(asdict(progress)) + "\n")
