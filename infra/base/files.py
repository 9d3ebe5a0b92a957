"""Files that are there whole or not at all."""

from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write `text` to `path`, whose folder is made if need be. A reader sees the old text or the new, never a part.

    Of several writers the last one wins. A crash leaves the old text, and perhaps a file `<name>.partial`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
