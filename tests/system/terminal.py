"""A terminal for a command: what it wrote there, and what a person sees in the end."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence

COLUMNS, LINES = 120, 40
CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b\]8;.*?(?:\x1b\\|\x07)|\r|\n")


def run_in_terminal(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a command on a terminal of its own; gives its exit code and every byte that it wrote, as text."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env={**environment, "TERM": "xterm-256color"}
    )
    os.close(slave)
    written = bytearray()
    try:
        while chunk := read(master):
            written += chunk
        return process.wait(), written.decode()
    finally:
        os.close(master)
        process.kill()
        process.wait()


def read(master: int) -> bytes:
    """What is there next; nothing when the last one who writes has closed it, which Linux tells as an error."""
    try:
        return os.read(master, 65536)
    except OSError:
        return b""


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
