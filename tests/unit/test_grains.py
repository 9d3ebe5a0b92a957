"""Grains in the order in which they can be computed, whatever their names and lengths."""

import pytest

from clickhouse.verify.values import EXPECTED
from infra.base.errors import SmartmeterError
from schemas.manifest import RAW, load_datasets
from stream_processing.grain import Grain, in_order, load_grains


def grain(source: str, *emits: str) -> Grain:
    return Grain(source, "window_start", 30, "append", lambda rows, _: rows, lambda rows, _: rows, dict.fromkeys(emits))  # type: ignore[arg-type]


def test_every_source_comes_before_what_is_made_of_it() -> None:
    grains = {"a": grain("five", "hour"), "b": grain("thirty", "five"), "c": grain(RAW, "thirty"), "d": grain("thirty")}
    order = list(in_order(grains))
    assert sorted(order) == ["a", "b", "c", "d"]
    assert order.index("c") < order.index("b") < order.index("a")
    assert order.index("c") < order.index("d")


@pytest.mark.parametrize(
    ("grains", "told"),
    [
        ({"a": grain("lost", "x")}, "grain a: no grain emits its source lost"),
        ({"a": grain(RAW, "x"), "b": grain(RAW, "x")}, "grain b: x is emitted by a already"),
        ({"a": grain(RAW, RAW)}, "grain a: raw_data is emitted by producers already"),
        ({"a": grain("y", "x"), "b": grain("x", "y")}, "in a circle"),
    ],
)
def test_what_cannot_be_ordered_is_named(grains: dict[str, Grain], told: str) -> None:
    with pytest.raises(SmartmeterError, match=told):
        in_order(grains)


def test_what_grains_emit_is_what_verify_recomputes() -> None:
    emitted = [name for found in load_grains().values() for name in found.emits]
    assert sorted(emitted) == sorted(path.stem for path in EXPECTED.glob("*.sql"))
    assert {load_datasets()[name].producer for name in emitted} == {"stream_processing"}
