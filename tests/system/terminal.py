"""A terminal for a command: what it wrote there, and what a person sees in the end."""

import codecs
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from typing import Self

COLUMNS, LINES = 120, 40
CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b\]8;.*?(?:\x1b\\|\x07)|\r|\n")

OWN_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A command on a terminal of its own; what it wrote there so far is `written`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.written = ""
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        environment = {**environment, "TERM": "xterm-256color"}
        # In a session whose terminal this is: so Ctrl-C reaches all that the command runs, as a person's does.
        self._process = subprocess.Popen(
            [sys.executable, "-c", OWN_TERMINAL, *command], stdin=slave, stdout=slave, stderr=slave, env=environment
        )
        os.close(slave)

    def read_until(self, text: str) -> None:
        """Return when the command has written `text`; fails when it ends before."""
        while text not in self.written:
            assert self._read(), self.written

    def press(self, key: bytes) -> None:
        os.write(self._master, key)

    def wait(self) -> int:
        """Read to the end; gives the exit code."""
        while self._read():
            pass
        return self._process.wait()

    def _read(self) -> bool:
        """False when the last one who writes has closed the terminal, which Linux tells as an error."""
        try:
            chunk = os.read(self._master, 65536)
        except OSError:
            return False
        self.written += self._decode(chunk)
        return bool(chunk)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)


def shown(written: str) -> list[str]:
    """The lines that stand on an endless screen after a command wrote this: colours are dropped, moves are made."""
    lines, row, column, at = [""], 0, 0, 0

    def put(text: str) -> None:
        nonlocal column
        lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
        column += len(text)

    for control in CONTROL.finditer(written):
        put(written[at : control.start()])
        at = control.end()
        if control[0] == "\r":
            column = 0
        elif control[0] == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif control[2] == "A":
            row = max(0, row - int(control[1] or 1))
        elif control[2] == "K":
            lines[row] = "" if control[1] == "2" else lines[row][:column]
    put(written[at:])
    return [line.rstrip() for line in lines]
