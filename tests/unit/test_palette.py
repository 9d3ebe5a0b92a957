"""Colours that mean something can be told apart by everybody, in light and dark."""

import json
import re
from itertools import combinations

import numpy as np
import pytest

from grafana import palette, render

Color = np.ndarray
# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
VISIONS = {
    name: np.array(rows).reshape(3, 3)
    for name, rows in {
        "all": [1, 0, 0, 0, 1, 0, 0, 0, 1],
        "no red": [0.1523, 1.0526, -0.2049, 0.1145, 0.7863, 0.0992, -0.0039, -0.0481, 1.052],
        "no green": [0.3673, 0.8607, -0.228, 0.2801, 0.6725, 0.0474, -0.0118, 0.0429, 0.9689],
        "no blue": [1.2555, -0.0767, -0.1788, -0.0784, 0.9308, 0.1476, 0.0047, 0.6914, 0.3039],
    }.items()
}
TO_CONES = np.array(
    [[0.41222147, 0.53633254, 0.05144599], [0.2119035, 0.68069954, 0.10739696], [0.08830246, 0.28171884, 0.6299787]]
)
TO_LAB = np.array(
    [[0.21045426, 0.7936178, -0.00407205], [1.9779985, -2.4285922, 0.45059371], [0.0259040, 0.7827718, -0.8086758]]
)
MEANINGS = {
    palette.GOOD, palette.WATCH, palette.BAD, palette.NEUTRAL, palette.VALUE, *palette.KINDS.values(), *palette.DIGITS,
}  # fmt: skip


def linear(color: str) -> Color:
    shares = np.array([int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    light, dark = sorted((float(linear(c) @ [0.2126, 0.7152, 0.0722]) + 0.05 for c in (one, other)), reverse=True)
    return light / dark


def distance(one: str, other: str, vision: Color) -> float:
    """In OKLab, where 0.02 is just to be seen side by side."""
    first, second = (np.cbrt(np.clip(linear(c) @ vision.T, 0, 1) @ TO_CONES.T) @ TO_LAB.T for c in (one, other))
    return float(np.linalg.norm(first - second))


@pytest.mark.parametrize("color", sorted(MEANINGS))
def test_a_colour_stands_out_from_both_backgrounds(color: str) -> None:
    assert contrast(color, palette.DARK_GROUND) >= 3
    assert contrast(color, palette.LIGHT_GROUND) >= 2.9


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("group", palette.TOGETHER, ids=str)
def test_colours_side_by_side_differ_for_everybody(group: tuple[str, ...], vision: str) -> None:
    for one, other in combinations(group, 2):
        assert distance(one, other, VISIONS[vision]) >= 0.08, (one, other)


@pytest.mark.parametrize("vision", VISIONS)
def test_ten_lines_differ_for_everybody(vision: str) -> None:
    for one, other in combinations(palette.DIGITS, 2):
        assert distance(one, other, VISIONS[vision]) >= 0.05, (one, other)


def test_red_and_green_are_nearer_to_each_other_without_green() -> None:
    """The measure itself: it must not call everything far apart."""
    assert distance("#d62728", "#2ca02c", VISIONS["all"]) > 0.3
    assert distance("#d62728", "#2ca02c", VISIONS["no green"]) < 0.15


@pytest.mark.parametrize("name", render.names())
def test_dashboards_use_no_other_colour(name: str) -> None:
    dashboard = json.loads((render.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    used = set(re.findall(r'"(?:fixedColor|color|iconColor|fill)": "([^"]+)"', json.dumps(dashboard)))
    exemplars = {"rgba(255,0,255,0.7)"}  # a heat map's default; ours have none
    assert used <= MEANINGS | exemplars | {"text", palette.CLEAR, "dash"}


def test_no_line_looks_like_a_state() -> None:
    for state in (palette.GOOD, palette.WATCH, palette.BAD):
        for line in palette.DIGITS:
            assert distance(state, line, VISIONS["all"]) >= 0.06, (state, line)
