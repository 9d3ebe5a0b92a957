"""Files that are there whole or not at all."""

import contextlib
import os
import secrets
from pathlib import Path
from tempfile import NamedTemporaryFile


def write_whole(path: Path, text: str) -> None:
    """Write `text` to `path`, whose folder is made if need be. A reader sees the old text or the new, never a part.

    Of several writers the last one wins. A crash leaves the old text, and perhaps a file `<name>.partial`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def kept_token(path: Path) -> str:
    """The word that the file holds; made by the first who asks, the same for all, readable by its user alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-") as file:  # mode 0600
            file.write(secrets.token_urlsafe(24))
            file.flush()
            with contextlib.suppress(FileExistsError):  # somebody else was first
                os.link(file.name, path)
    return path.read_text(encoding="utf-8")
