"""The examples: valid, encodable, and the aggregates' rows follow from the examples of raw readings."""

import statistics
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from schemas.avro import ContractError
from schemas.codec import Decoder, Encoder, with_datetimes
from schemas.examples import load_examples
from schemas.manifest import Dataset, load_datasets

DATASETS = load_datasets()
VERSIONS = [(dataset, number) for dataset in DATASETS.values() for number in dataset.versions]
BITS = {"failure_count": 1, "spike_count": 2, "low_consumption_count": 4, "voltage_anomaly_count": 8}


class One:
    """A registry that knows one schema."""

    def __init__(self, text: str) -> None:
        self.text = text

    def schema_by_id(self, schema_id: int) -> str:
        del schema_id
        return self.text


def rows(name: str) -> list[dict[str, Any]]:
    """The examples of a dataset's newest version."""
    dataset = DATASETS[name]
    return [example.model_dump() for example in load_examples(dataset, max(dataset.versions))]


@pytest.mark.parametrize(("dataset", "version"), VERSIONS, ids=lambda value: getattr(value, "name", value))
def test_examples_are_valid_and_survive_avro(dataset: Dataset, version: int) -> None:
    record = dataset.versions[version]
    encoder, decoder = Encoder(record, 1), Decoder(record, One(record.schema))
    newest = Decoder(dataset.latest, One(record.schema))
    for example in load_examples(dataset, version):
        values = example.model_dump()
        message = encoder.encode(values)
        assert with_datetimes(decoder.decode(message), record) == values
        assert with_datetimes(newest.decode(message), dataset.latest).items() >= values.items()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "no examples"),
        ("{", "not JSON"),
        ("[]", "at least one record"),
        ("{}", "at least one record"),
        ('[{"meter_id": "1"}]', "record 1: meter_id: Input should be a valid integer"),
    ],
)
def test_examples_that_break_the_contract_are_named(tmp_path: Path, content: str | None, complaint: str) -> None:
    if content is not None:
        (tmp_path / "raw_data.v1.json").write_text(content)
    with pytest.raises(ContractError, match=rf"raw_data.v1.json: .*{complaint}"):
        load_examples(DATASETS["raw_data"], 1, tmp_path)


def readings(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The raw examples in a row's window, of its meter or of its whole building, by meter and time."""
    key = "meter_id" if "meter_id" in row else "building_id"
    found = [r for r in rows("raw_data") if r[key] == row[key]]
    found = [r for r in found if row["window_start"] <= r["timestamp"] < row["window_end"]]
    return sorted(found, key=lambda r: (r["meter_id"], r["timestamp"]))


def held(row: dict[str, Any]) -> list[timedelta]:
    """How long each reading of a row holds: until the meter's next one, here never beyond the window's end."""
    found = readings(row)
    times: dict[int, list[datetime]] = {}
    for r in rows("raw_data"):
        times.setdefault(r["meter_id"], []).append(r["timestamp"])
    return [min(t for t in times[r["meter_id"]] if t > r["timestamp"]) - r["timestamp"] for r in found]


FIELDS = {name: {f.name for f in dataset.latest.fields} for name, dataset in DATASETS.items()}
AGGREGATES = [
    name for name, fields in FIELDS.items() if {"window_start", "building_id"} <= fields and "late_count" not in fields
]


@pytest.mark.parametrize("name", AGGREGATES)
def test_aggregates_follow_from_the_raw_examples(name: str) -> None:
    for row in rows(name):
        found = readings(row)
        power, voltage = [r["power_kw"] for r in found], [r["voltage_v"] for r in found]
        meters = {r["meter_id"] for r in found}
        # The last raw example has no next one, so only rows that have an energy may be asked how long it holds.
        holds = held(row) if "energy_kwh" in row else [timedelta()] * len(found)
        wanted = {
            "event_count": len(found),
            "meter_count": len(meters),
            "power_avg_kw": statistics.fmean(power),
            "power_std_kw": statistics.pstdev(power),
            "power_min_kw": min(power),
            "power_max_kw": max(power),
            "readings_sum_kw": sum(power),
            "voltage_avg_v": statistics.fmean(voltage),
            "voltage_std_v": statistics.pstdev(voltage),
            "voltage_min_v": min(voltage),
            "voltage_max_v": max(voltage),
            "voltage_outside_count": sum(v < 210 or v > 250 for v in voltage),
            "voltage_outside_share": sum(v < 210 or v > 250 for v in voltage) / len(voltage),
            "energy_kwh": sum(p * t / timedelta(hours=1) for p, t in zip(power, holds, strict=True)),
            "covered_s": sum(holds, timedelta()).total_seconds(),
            "power_step_max_kw": max(abs(b - a) for a, b in pairwise(power)),
            "voltage_step_max_v": max(abs(b - a) for a, b in pairwise(voltage)),
            **{name: sum(r["status"] & bit != 0 for r in found) for name, bit in BITS.items()},
        }
        for field in row.keys() & wanted.keys():
            assert row[field] == pytest.approx(wanted[field], rel=1e-12), (name, field)
        compared = len(row.keys() & wanted.keys())
        assert compared >= (1 if name == "anomaly_prediction_results" else 3), "nothing was compared"


@pytest.mark.parametrize("row", rows("meter_stats_30s"), ids=lambda row: f"meter {row['meter_id']}")
def test_statistics_follow_from_the_raw_examples(row: dict[str, Any]) -> None:
    found = readings(row)
    power = [round(r["power_kw"] * 1_000_000) for r in found]
    voltage = [round(r["voltage_v"] * 1_000) for r in found]
    lasting_ms = [(b["timestamp"] - a["timestamp"]) // timedelta(milliseconds=1) for a, b in pairwise(found)]
    changes = "".join("=" if a == b else "|" for a, b in pairwise(zip(power, voltage, strict=True)))
    runs = [len(run) + 1 for run in changes.split("|")]
    sequences = [r["sequence"] for r in found if r["sequence"] is not None] or [None]
    wanted = {
        "power_sum_mw": sum(power),
        "power_sum_sq_mw2": sum(p**2 for p in power),
        "power_min_mw": min(power),
        "power_max_mw": max(power),
        "voltage_sum_mv": sum(voltage),
        "voltage_sum_sq_mv2": sum(v**2 for v in voltage),
        "voltage_min_mv": min(voltage),
        "voltage_max_mv": max(voltage),
        "power_step_max_mw": max(abs(b - a) for a, b in pairwise(power)),
        "voltage_step_max_mv": max(abs(b - a) for a, b in pairwise(voltage)),
        "repeat_count": changes.count("="),
        "run_first_count": runs[0],
        "run_max_count": max(runs),
        "run_last_count": runs[-1],
        "energy_mw_ms": sum(p * t for p, t in zip(power, lasting_ms, strict=False)),
        "first_timestamp": found[0]["timestamp"],
        "last_timestamp": found[-1]["timestamp"],
        "first_power_mw": power[0],
        "last_power_mw": power[-1],
        "first_voltage_mv": voltage[0],
        "last_voltage_mv": voltage[-1],
        "first_sequence": sequences[0],
        "last_sequence": sequences[-1],
    }
    assert {name: row[name] for name in wanted} == wanted


def test_the_first_version_of_raw_is_the_second_without_its_sequence() -> None:
    newest = [{name: value for name, value in row.items() if name != "sequence"} for row in rows("raw_data")]
    oldest = [example.model_dump() for example in load_examples(DATASETS["raw_data"], 1)]
    assert oldest == newest[: len(oldest)]
