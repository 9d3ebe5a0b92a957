"""One colour per meaning, for every dashboard in light and dark; the preview draws with the same ones.

`tests/unit/test_palette.py` checks each colour's contrast on both backgrounds, and that colours which stand side by
side stay apart for people who see no red, no green or no blue.
"""

GOOD, WATCH, BAD = "#4ba68a", "#d9720b", "#bf303e"
"""As it should be; a person should look; a person must act."""
NEUTRAL = "#808893"
"""What others are compared with: last week, all others, a mean."""
VALUE = "#6d95f2"
"""The quantity of a panel that shows one thing only."""
MARK = "#808893"
"""Annotations: they explain a course, and must not hide it."""
CLEAR = "transparent"

KINDS = {
    "failure": "#d90b72",
    "voltage": "#956df2",
    "spike": "#56a0bf",
    "low consumption": "#4b78a6",
}
"""Kinds of anomaly, the gravest first."""
KIND_NOT_TOLD = NEUTRAL

DIGITS = (
    *("#298da6", "#6d95f2", "#d962cd", "#728c07", "#733df2"),
    *("#a6946c", "#a330bf", "#5d7306", "#886df2", "#8c6f5b"),
)
"""Lines of meters and buildings, by the last digit of their number: Meter 12 has one colour everywhere."""

DARK_GROUND, LIGHT_GROUND = "#181b1f", "#ffffff"
"""Backgrounds of Grafana's panels."""
TOGETHER = (
    (GOOD, WATCH, BAD),
    tuple(KINDS.values()),
    (VALUE, NEUTRAL),
    (VALUE, WATCH, NEUTRAL),
)
"""Colours that one panel shows side by side."""
