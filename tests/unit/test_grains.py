"""Grains in the order in which they can be computed, whatever their names and lengths."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from clickhouse.verify.values import EXPECTED
from infra.base.errors import SmartmeterError
from schemas.manifest import RAW, load_datasets
from stream_processing import grain as grain_module
from stream_processing.datasets import meter_minute_trend
from stream_processing.grain import Grain, in_order, load_grains

GRAINS = Path(grain_module.__file__).with_name("grains")


def grain(name: str, source: str, *emits: str) -> Grain:
    return Grain(name, source, 30, "append", lambda rows, _: rows, emits=dict.fromkeys(emits, lambda _: {}))


def by_name(*grains: Grain) -> dict[str, Grain]:
    return {grain.name: grain for grain in grains}


def test_every_source_comes_before_what_is_made_of_it() -> None:
    grains = grain("a", "five", "hour"), grain("b", "thirty", "five"), grain("c", RAW, "thirty"), grain("d", "thirty")
    order = list(in_order(by_name(*grains)))
    assert sorted(order) == ["a", "b", "c", "d"]
    assert order.index("c") < order.index("b") < order.index("a")
    assert order.index("c") < order.index("d")


@pytest.mark.parametrize(
    ("grains", "sentence"),
    [
        ([grain("a", "lost", "x")], "grain a: no grain emits its source lost"),
        ([grain("a", "y", "x"), grain("b", "x", "y")], "in a circle"),
        ([grain("a", RAW, RAW)], "in a circle"),
    ],
)
def test_what_cannot_be_ordered_is_named(grains: list[Grain], sentence: str) -> None:
    with pytest.raises(SmartmeterError, match=sentence):
        in_order(by_name(*grains))


def test_every_grain_that_is_declared_is_emitted_by() -> None:
    """A dataset's file names its grain; a grain that no file names would be a query that nobody runs."""
    modules = [import_module(f"stream_processing.grains.{path.stem}") for path in GRAINS.glob("[a-z]*.py")]
    declared = {value.name for module in modules for value in vars(module).values() if isinstance(value, Grain)}
    assert declared == load_grains().keys()


def test_two_grains_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter_minute_trend, "GRAIN", replace(meter_minute_trend.GRAIN, name="meter_5min"))
    with pytest.raises(SmartmeterError, match=r"\.py: its grain is named meter_5min, as another is"):
        load_grains()


def test_queries_are_named_as_the_checkpoints_that_there_are() -> None:
    assert load_grains().keys() >= {"meter_30s", "meter_1min", "meter_5min", "meter_1h", "building_1h"}


def test_what_grains_emit_is_what_verify_recomputes() -> None:
    emitted = [name for grain in load_grains().values() for name in grain.emits]
    assert sorted(emitted) == sorted(path.stem for path in EXPECTED.glob("*.sql"))
    assert {load_datasets()[name].producer for name in emitted} == {"stream_processing"}
