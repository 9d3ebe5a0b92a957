"""A file as text: plain, .gz or .zip, in UTF-8, in UTF-16 with its mark, or in the encoding that is named.

What a file is, its first bytes say, not its name. It is read as it comes, so memory does not grow with it.
"""

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO, TextIO, cast

from infra.base.errors import SmartmeterError

HEAD = 4096
GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"
MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
OTHER_FORMATS = {
    b"PK\x05\x06": "an empty zip archive",
    b"BZh": "a bzip2 file: unpack it",
    b"\xfd7zXZ": "an xz file: unpack it",
    b"\x28\xb5\x2f\xfd": "a zstd file: unpack it",
    b"7z\xbc\xaf": "a 7z archive: unpack it",
    b"PAR1": "a Parquet file: save it as CSV",
    b"\xd0\xcf\x11\xe0": "a spreadsheet: save it as CSV",
    b"%PDF": "a PDF",
}


@contextmanager
def opened(path: Path, encoding: str | None) -> Iterator[TextIO]:
    """The file's text, universal line ends left to the reader. `encoding` None: what its first bytes say, else UTF-8.

    Raises SmartmeterError, which names the file, what is wrong and what to do, also while the text is read: for a file
    that cannot be opened, is of another format, is damaged, or is not text in its encoding.
    """
    try:
        with ExitStack() as stack:
            binary = _unpacked(path, stack)
            head = binary.peek(HEAD)[:HEAD]  # type: ignore[attr-defined]
            yield stack.enter_context(TextIOWrapper(binary, encoding or _encoding(path, head), newline=""))
    except UnicodeError as error:
        told = f"not {encoding} text" if encoding else "not UTF-8 text"
        raise SmartmeterError(f"{path}: {told} ({error}); name its encoding, for example --encoding latin-1") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SmartmeterError(f"{path}: damaged compressed file ({error}); fetch it again") from error
    except zipfile.BadZipFile as error:
        raise SmartmeterError(f"{path}: damaged zip file ({error}); fetch it again") from error
    except NotImplementedError as error:
        raise SmartmeterError(f"{path}: a zip file of a kind that cannot be read ({error}): unpack it") from error
    except OSError as error:
        raise SmartmeterError(f"{path}: cannot be read: {error.strerror or error}") from error


def _unpacked(path: Path, stack: ExitStack) -> IO[bytes]:
    """The bytes of the one file that this one is or holds."""
    file = stack.enter_context(path.open("rb"))
    head = file.peek(HEAD)[:HEAD]
    if head.startswith(ZIP):
        archive = stack.enter_context(zipfile.ZipFile(file))
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1:
            named = ", ".join(member.filename for member in members[:5])
            raise SmartmeterError(f"{path}: a zip archive of {len(members)} files ({named}): unpack it, import each")
        if members[0].flag_bits & 1:
            raise SmartmeterError(f"{path}: a zip archive with a password: unpack it")
        return stack.enter_context(archive.open(members[0]))
    if head.startswith(GZIP) or path.suffix == ".gz":
        return cast(IO[bytes], stack.enter_context(gzip.open(file)))
    return file


def _encoding(path: Path, head: bytes) -> str:
    """What the first bytes say; UTF-8 if they say nothing."""
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            return encoding
    for mark, what in OTHER_FORMATS.items():
        if head.startswith(mark):
            raise SmartmeterError(f"{path}: this is {what}")
    if b"\0" in head:
        raise SmartmeterError(f"{path}: not text, or UTF-16 without a mark; then say --encoding utf-16-le or utf-16-be")
    return "utf-8"
