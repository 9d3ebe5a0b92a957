"""The cache of downloads and of the wrapped Java, shared by every stack of this user."""

import os
from pathlib import Path

import platformdirs


def cache_dir() -> Path:
    """SMARTMETER_CACHE_DIR, else the user's cache folder of this platform; made when missing."""
    folder = Path(os.environ.get("SMARTMETER_CACHE_DIR") or platformdirs.user_cache_path("smartmeter")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
