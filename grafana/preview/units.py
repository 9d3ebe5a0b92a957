"""A number to text as Grafana prints it, by its units' ids; pinned by tests/unit/test_preview.py."""

import math
from datetime import datetime
from zoneinfo import ZoneInfo

PREFIXED = {
    "bytes": (1024, (" B", " KiB", " MiB", " GiB", " TiB")),
    "short": (1000, ("", " K", " Mil", " Bil", " Tri")),
}
SPANS = ((31_536_000, " years"), (604_800, " weeks"), (86_400, " days"), (3600, " hours"), (60, " mins"), (1, " s"))
KNOWN = {"none", "locale", "percentunit", "s", "dateTimeAsIso", *PREFIXED}
"""Every unit that a dashboard uses, beside those that begin with `suffix:`; a test keeps it so."""


def text(value: object, unit: str, decimals: int | None = None, zone: ZoneInfo | None = None) -> str:
    """A value as a panel prints it; text stays, nothing is a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, datetime):
        return f"{value.astimezone(zone) if zone else value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return _number(value, unit, decimals)


def _number(value: float, unit: str, decimals: int | None) -> str:
    if unit == "locale":
        return _grouped(value, decimals)
    if unit == "s":
        return _span(value, decimals)
    if unit in PREFIXED:
        return _prefixed(value, unit, decimals)
    if unit == "percentunit":
        return f"{fixed(value * 100, decimals)}%"
    suffix = unit.removeprefix("suffix:") if unit.startswith("suffix:") else ""
    return f"{fixed(value, decimals)} {suffix}".rstrip()


def fixed(value: float, decimals: int | None) -> str:
    """So many decimals; where none are asked for, as many as tell two or three digits."""
    if decimals is None:
        decimals = _decimals_for(value)
    return f"{math.floor(value * 10**decimals + 0.5) / 10**decimals:.{decimals}f}"


def _decimals_for(value: float) -> int:
    if value == 0 or float(value).is_integer():
        return 0
    exponent = math.floor(math.log10(abs(value)))
    return max(0, 1 - exponent + (1 if abs(value) / 10 ** (exponent - 1) > 2.25 else 0))


def _grouped(value: float, decimals: int | None) -> str:
    shown = f"{value:,.{3 if decimals is None else decimals}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def _span(value: float, decimals: int | None) -> str:
    if value == 0:
        return "0 s"
    size, word = next((each for each in SPANS if abs(value) >= each[0]), SPANS[-1])
    return fixed(value / size, decimals) + word


def _prefixed(value: float, unit: str, decimals: int | None) -> str:
    base, words = PREFIXED[unit]
    at = min(max(math.floor(math.log(abs(value), base)) if value else 0, 0), len(words) - 1)
    return fixed(value / base**at, decimals) + words[at]
