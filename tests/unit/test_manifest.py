import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.avro import ContractError
from schemas.manifest import CONTRACTS, load_datasets

TREND = "meter_minute_trend"


@pytest.fixture
def contracts(tmp_path: Path) -> Path:
    """A copy of the contracts that a test may spoil."""
    return Path(shutil.copytree(CONTRACTS, tmp_path / "contracts"))


def edit(folder: Path, stem: str, changes: dict[str, Any]) -> None:
    """Change keys of a manifest; None removes one."""
    path = folder / f"{stem}.yaml"
    manifest = yaml.safe_load(path.read_text())
    manifest.update(changes)
    path.write_text(yaml.safe_dump({key: value for key, value in manifest.items() if value is not None}))


def test_the_datasets_are_found_by_their_files() -> None:
    datasets = load_datasets()
    assert list(datasets) == sorted(path.stem for path in CONTRACTS.glob("*.yaml"))
    assert {"raw_data", "meter_stats_30s", TREND, "anomaly_prediction_results"} <= datasets.keys()
    raw = datasets["raw_data"]
    assert (raw.topic, raw.subject, list(raw.versions)) == ("smart-meter-data", "smart-meter-data-value", [1, 2])
    assert raw.latest is raw.versions[2]
    assert [field.name for field in raw.versions[1].fields] == [
        *("meter_id", "building_id", "timestamp", "power_kw", "voltage_v", "status"),
    ]


def test_a_dataset_is_added_by_adding_files(contracts: Path) -> None:
    for suffix in (".yaml", ".v1.avsc", ".v2.avsc"):
        shutil.copy(contracts / f"{TREND}{suffix}", contracts / f"meter_day{suffix}")
    edit(contracts, "meter_day", {"dataset": "meter_day", "topic": "meter_day"})
    assert load_datasets(contracts)["meter_day"].topic == "meter_day"


def test_another_raw_topic_takes_its_dead_letters_along() -> None:
    datasets = load_datasets(raw_topic="readings")
    assert datasets["raw_data"].topic == "readings"
    assert datasets["raw_data"].subject == "readings-value"
    assert datasets["raw_data"].dead_letter_topic == "readings-dead-letters"
    assert datasets[TREND] == load_datasets()[TREND]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"ovner": "me"}, "'ovner' was unexpected"),
        ({"owner": None}, "'owner' is a required property"),
        ({"partitions": 4}, r"\$.partitions: how many is said by the deployment"),
        ({"compatibility": "BACKWARD"}, r"\$.compatibility"),
        ({"topic": "Meter Trend"}, r"\$.topic"),
        ({"key": "building"}, r"\$.key"),
        ({"parameters": {"Limit": 1}}, "'Limit'"),
        ({"parameters": {"limit_v": "high"}}, r"\$.parameters.limit_v"),
        ({"clickhouse": {"order_by": ["meter_id"], "version_by": "event_count"}}, "'ttl_days' is a required property"),
        ({"dataset": "trend"}, "it must be the file's stem"),
        ({"versions": [1, 2, 3]}, "without a gap"),
        ({"versions": [2]}, "without a gap"),
        ({"key": "m_{meter}"}, "name meter, which v1 lacks"),
        (
            {"clickhouse": {"order_by": ["day"], "version_by": "event_count", "ttl_days": 1}},
            "name day, which v1 lacks or lets be null",
        ),
        (
            {"clickhouse": {"order_by": ["meter_id"], "version_by": "event_count", "ttl_days": 101}},
            "could not be rebuilt from its topic",
        ),
        (
            {"clickhouse": {"order_by": ["meter_id"], "version_by": "event_count", "ttl_days": None}},
            "could not be rebuilt from its topic",
        ),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_by_file_and_key(
    contracts: Path, changes: dict[str, Any], complaint: str
) -> None:
    edit(contracts, TREND, changes)
    with pytest.raises(ContractError, match=f"{TREND}.yaml.*{complaint}"):
        load_datasets(contracts)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("orphan.v1.avsc", "no manifest orphan.yaml beside it"),
        ("orphan.v1.json", "no manifest orphan.yaml beside it"),
        (f"{TREND}.v3.json", f"without Avro file {TREND}.v3.avsc"),
        (f"{TREND}.v01.avsc", "rename or remove it"),
        (f"{TREND}.yml", "rename or remove it"),
    ],
)
def test_a_file_that_belongs_to_nothing_is_an_error(contracts: Path, name: str, complaint: str) -> None:
    (contracts / name).write_text("[]")
    with pytest.raises(ContractError, match=f"{name}: .*{complaint}"):
        load_datasets(contracts)


def test_a_version_that_no_manifest_names_is_an_error(contracts: Path) -> None:
    shutil.copy(contracts / f"{TREND}.v1.avsc", contracts / f"{TREND}.v3.avsc")
    with pytest.raises(ContractError, match=r"versions \[1, 2\], Avro files \[1, 2, 3\]"):
        load_datasets(contracts)


def test_a_file_that_is_no_yaml_is_named(contracts: Path) -> None:
    (contracts / f"{TREND}.yaml").write_text("dataset: [")
    with pytest.raises(ContractError, match=f"{TREND}.yaml: not YAML"):
        load_datasets(contracts)


def test_a_folder_without_manifests_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="no manifests"):
        load_datasets(tmp_path)
