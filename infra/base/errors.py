"""Errors that a person at the terminal can act on."""


class SmartmeterError(Exception):
    """A failure whose message names what went wrong, where, and what to do; the CLI prints it and exits 1."""


def first_line(error: BaseException, most: int = 300) -> str:
    """The first line of an error's text, at most `most` characters of it; the error's type where it has no text."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:most]
