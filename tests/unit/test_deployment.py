"""Deployments as files: what is valid, what an error names, and what follows from a prefix."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from clickhouse.ddl import EXAMPLE, tables
from infra.base.deployment import DEPLOYMENTS, EMBEDDED, Deployment, load_deployment
from infra.base.errors import SmartmeterError
from schemas.manifest import deployed, load_datasets

DATASETS = load_datasets()
VALID: dict[str, Any] = {
    "name": "blue",
    "description": "One of two.",
    "prefix": "blue.",
    "kafka": {
        "partitions": {"default": 12, "datasets": {"raw_data": 24}},
        "replication_factor": 3,
        "min_insync_replicas": 2,
    },
    "clickhouse": {"database": "blue"},
    "spark": {"shuffle_partitions": 8, "checkpoints": "s3a://bucket/checkpoints"},
}


def written(folder: Path, content: object) -> Path:
    path = folder / "blue.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def with_value(path: str, value: object) -> dict[str, Any]:
    """The valid file with one key, given by its path, set to another value; None removes it."""
    content: dict[str, Any] = yaml.safe_load(yaml.safe_dump(VALID))
    *sections, key = path.split(".")
    section = content
    for name in sections:
        section = section[name]
    if value is None:
        del section[key]
    else:
        section[key] = value
    return content


@pytest.mark.parametrize("path", sorted(DEPLOYMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_deployment_here_is_valid_and_names_datasets_that_there_are(path: Path) -> None:
    deployment = load_deployment(path.stem)
    assert deployment.kafka.partitions.datasets.keys() <= DATASETS.keys()


def test_the_embedded_deployment_keeps_the_names_of_the_contracts() -> None:
    embedded = load_deployment(EMBEDDED)
    for name, dataset in deployed(DATASETS, embedded).items():
        assert (dataset.topic, dataset.dead_letter_topic) == (
            DATASETS[name].topic,
            DATASETS[name].dead_letter_topic,
        )
        assert dataset.partitions == (1 if name == "pipeline_metrics" else 4)
    assert (embedded.kafka.replication_factor, embedded.clickhouse.database) == (1, "default")


def test_a_file_says_names_and_numbers(tmp_path: Path) -> None:
    blue = load_deployment(str(written(tmp_path, VALID)))
    raw, trend = (deployed(DATASETS, blue)[name] for name in ("raw_data", "meter_minute_trend"))
    assert (raw.topic, raw.dead_letter_topic) == ("blue.smart-meter-data", "blue.smart-meter-data-dead-letters")
    assert (raw.subject, raw.partitions, trend.partitions) == ("blue.smart-meter-data-value", 24, 12)
    assert load_deployment("blue", tmp_path) == blue


def test_the_fleets_limits_are_those_of_every_consumer(tmp_path: Path) -> None:
    fleet = {"power_max_kw": 10_000, "voltage_lower_v": 108, "voltage_upper_v": 132}
    large = deployed(DATASETS, load_deployment(str(written(tmp_path, {**VALID, "fleet": fleet}))))
    for record in large["raw_data"].versions.values():
        assert (record.field("power_kw").minimum, record.field("power_kw").maximum) == (-10_000, 10_000)
    assert large["raw_data"].latest.schema == DATASETS["raw_data"].latest.schema
    [view] = [table for table in tables(large["raw_data"], EXAMPLE) if table.name == "raw_data_intake"]
    assert "power_kw >= -10000" in view.query
    assert "power_kw <= 10000" in view.query
    limited = {name: each.parameters for name, each in DATASETS.items() if "voltage_lower_v" in each.parameters}
    assert len(limited) >= 4
    for name, parameters in limited.items():
        assert large[name].parameters == {**parameters, "voltage_lower_v": 108, "voltage_upper_v": 132}
    plain = deployed(DATASETS, load_deployment(str(written(tmp_path, VALID))))
    assert plain["raw_data"].versions == DATASETS["raw_data"].versions


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("kafka.partitons", {"default": 4}, "kafka.partitons: no such key; there are partitions, replication_factor, "),
        ("password", "secret", "password: no such key; there are name, description, prefix, kafka, "),
        ("kafka.partitions.defalt", 4, "kafka.partitions.defalt: no such key; there are default, datasets"),
        ("clickhouse.url", "http://u:p@h", "clickhouse.url: no such key; there are database"),
        ("kafka", None, "kafka: Field required"),
        ("kafka.partitions.default", 0, "kafka.partitions.default: Input should be greater than or equal to 1"),
        ("kafka.partitions.default", "4", "kafka.partitions.default: Input should be a valid integer"),
        ("kafka.partitions.datasets", {"raw_data": 0}, "kafka.partitions.datasets.raw_data: Input should be"),
        ("kafka.min_insync_replicas", 4, "kafka: min_insync_replicas is 4 and replication_factor 3: no message"),
        ("fleet", {"power_max": 5}, "fleet.power_max: no such key; there are power_max_kw, voltage_lower_v, "),
        ("fleet", {"power_max_kw": 100_001}, "fleet.power_max_kw: Input should be less than or equal to 100000"),
        ("fleet", {"voltage_lower_v": 108}, "fleet: voltage_lower_v and voltage_upper_v belong together; say both"),
        (
            "fleet",
            {"voltage_lower_v": 132, "voltage_upper_v": 108},
            "fleet: voltage_lower_v is 132 and voltage_upper_v",
        ),
        ("prefix", "blue", "prefix: String should match pattern"),
        ("prefix", "Blue.", "prefix: String should match pattern"),
        ("clickhouse.database", "blue; DROP", "clickhouse.database: String should match pattern"),
        ("name", "green", "name is green; it must be the file's stem, blue"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_key(tmp_path: Path, path: str, value: object, complaint: str) -> None:
    file = written(tmp_path, with_value(path, value))
    with pytest.raises(SmartmeterError) as caught:
        load_deployment(str(file))
    assert str(caught.value).startswith(f"{file}: {complaint}")


def test_a_file_that_is_no_mapping_or_no_yaml_is_named(tmp_path: Path) -> None:
    file = written(tmp_path, [1])
    with pytest.raises(SmartmeterError, match=f"{file}: the file: Input should be a valid dictionary"):
        load_deployment(str(file))
    file.write_text("name: [")
    with pytest.raises(SmartmeterError, match=f"{file}: cannot be read as YAML"):
        load_deployment(str(file))


def test_one_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    written(tmp_path, VALID)
    with pytest.raises(SmartmeterError, match=r"no deployment red: .*red.yaml is not there; .* has blue\. Name one"):
        load_deployment("red", tmp_path)
    with pytest.raises(SmartmeterError, match=r"no deployment \./red\.yaml"):
        load_deployment("./red.yaml", tmp_path)


def with_prefix(prefix: str) -> Deployment:
    return load_deployment(EMBEDDED).model_copy(update={"prefix": prefix})


@pytest.mark.parametrize(
    ("prefix", "owned", "foreign"),
    [
        ("", "raw_data", "blue.raw_data"),
        ("blue.", "blue.raw_data", "raw_data"),
        ("blue.", "blue.raw_data", "green.raw_data"),
        ("team.", "team.raw_data", "team.blue.raw_data"),
        ("team.blue.", "team.blue.raw_data", "team.raw_data"),
    ],
)
def test_no_name_belongs_to_two_deployments(prefix: str, owned: str, foreign: str) -> None:
    deployment = with_prefix(prefix)
    assert deployment.owns(owned)
    assert not deployment.owns(foreign)


def test_contracts_have_no_dot_in_a_name_so_a_prefix_is_told_from_it() -> None:
    assert not any("." in name for dataset in DATASETS.values() for name in (dataset.topic, dataset.dead_letter_topic))
