"""Files that are whole, and the token that is made once."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from infra.base.files import kept_token, write_whole


def test_what_is_written_is_there_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    for text in ("first", "second"):
        write_whole(path, text)
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_a_token_is_made_once_whoever_comes_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "token"
    with ThreadPoolExecutor(16) as pool:
        tokens = set(pool.map(lambda _: kept_token(path), range(200)))
    assert tokens == {path.read_text()}
    assert len(path.read_text()) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    assert kept_token(tmp_path / "another") != kept_token(path)
