"""Tables on stdout, for a terminal and for a pipe."""

import os
import sys

from rich.console import Console

PIPE_WIDTH = 140
"""Columns where nobody says how many there are: the widest table fits, and none is folded for grep."""


def stdout_console(highlight: bool = True) -> Console:
    """A console as wide as the terminal; in a pipe or file PIPE_WIDTH, or what COLUMNS says."""
    known = sys.stdout.isatty() or os.environ.get("COLUMNS")
    return Console(width=None if known else PIPE_WIDTH, highlight=highlight)
