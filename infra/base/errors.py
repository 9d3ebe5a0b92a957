"""Errors that a person at the terminal can act on."""


class SmartmeterError(Exception):
    """A failure whose message names what went wrong, where, and what to do; the CLI prints it and exits 1."""
