"""Grafana's units as people read them: a number to text, and an axis's suffix."""

from datetime import datetime

SUFFIXES = {
    "kwatt": "kW",
    "kwatth": "kWh",
    "volt": "V",
    "s": "s",
    "cps": "/s",
    "bytes": "B",
    "percentunit": "%",
    "short": "",
    "none": "",
    "dateTimeAsIso": "",
}
"""Every unit that a dashboard uses; a test keeps it so."""
PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
BINARY = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
SPANS = ((86400, "d"), (3600, "h"), (60, "min"))


def text(value: object, unit: str, decimals: int | None = None) -> str:
    """A value as a panel prints it; text stays, nothing is a dash."""
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}".removesuffix(":00")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) and unit != "percentunit":
        decimals = 0
    if unit == "percentunit":
        return f"{value * 100:.{max((decimals or 1) - 1, 0)}f} %"
    scale, suffix = _scaled(abs(value), unit)
    return f"{_number(value / scale, decimals, scaled=scale != 1)} {suffix}".rstrip()


def _scaled(size: float, unit: str) -> tuple[float, str]:
    table = {"short": PREFIXES, "bytes": BINARY, "s": SPANS}.get(unit, ())
    least = 10_000 if unit == "short" else 1
    for scale, suffix in table:
        if size >= scale and size >= least:
            return scale, suffix
    return 1, SUFFIXES[unit]


def _number(value: float, decimals: int | None, scaled: bool) -> str:
    if decimals is None:
        decimals = 0 if float(value).is_integer() else 2
    return f"{value:,.{max(decimals, 1) if scaled and not float(value).is_integer() else decimals}f}"
