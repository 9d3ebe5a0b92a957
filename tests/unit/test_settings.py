import json
from pathlib import Path

import pydantic
import pytest

from clickhouse.ddl import consumer_group
from infra.base.deployment import DEPLOYMENTS, load_deployment
from infra.base.errors import SmartmeterError
from infra.base.settings import RAW_TOPIC, Settings, load_settings, parse_env_file
from infra.commands._options import Where
from schemas.manifest import RAW, load_datasets, load_deployed
from stream_processing.run import checkpoint_folder
from stream_processing.settings import StreamSettings, stream_settings

ENVIRONMENT = {
    "KAFKA_BROKERS": "kafka-1:9092,kafka-2:9092",
    "SCHEMA_REGISTRY_URL": "https://registry:8081",
    "CLICKHOUSE_URL": "https://clickhouse:8443",
    "CLICKHOUSE_USER": "operator",
    "CLICKHOUSE_PASSWORD": "hunter2",
    "CLICKHOUSE_READER_USER": "guest",
    "CLICKHOUSE_READER_PASSWORD": "hunter3",
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
    stream = (f"STREAM_{field.upper()}" for field in StreamSettings.model_fields)
    for name in ("SMARTMETER_DATA_DIR", "SMARTMETER_DEPLOYMENT", *stream):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """The data directory of an embedded stack."""
    stack = {
        "kafka_brokers": "127.0.0.1:9092",
        "schema_registry_url": "http://127.0.0.1:8081/apis/ccompat/v7",
        "clickhouse_url": "http://127.0.0.1:8123",
        "clickhouse_schema_registry_url": "http://127.0.0.1:8123/schema-registry",
        "ports": {"kafka": 9092},
    }
    (tmp_path / "stack.json").write_text(json.dumps(stack))
    (tmp_path / "secrets.env").write_text(
        "# written once\nCLICKHOUSE_USER=admin\nCLICKHOUSE_PASSWORD=a=b\n\n"
        "CLICKHOUSE_READER_USER=reader\nCLICKHOUSE_READER_PASSWORD=c\n"
    )
    return tmp_path


def test_a_stack_directory_says_all(data_dir: Path) -> None:
    settings = load_settings(data_dir)

    assert settings.data_dir == data_dir
    assert settings.kafka_brokers == "127.0.0.1:9092"
    assert settings.kafka_topic == "smart-meter-data"
    assert settings.deployment == load_deployment("embedded")
    assert settings.clickhouse_user == "admin"
    assert settings.clickhouse_password.get_secret_value() == "a=b"
    assert settings.clickhouse_schema_registry_url == "http://127.0.0.1:8123/schema-registry"


def test_the_environment_wins_and_an_empty_variable_is_unset(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_TOPIC", "trial")
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "other")
    monkeypatch.setenv("CLICKHOUSE_USER", "")

    settings = load_settings(data_dir)

    assert settings.kafka_topic == "trial"
    assert settings.clickhouse_password.get_secret_value() == "other"
    assert settings.clickhouse_user == "admin"


def test_the_environment_alone_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    settings = load_settings(tmp_path)

    assert settings.kafka_brokers == "kafka-1:9092,kafka-2:9092"
    assert settings.clickhouse_schema_registry_url == "https://registry:8081"


def test_the_data_directory_may_come_from_the_environment(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMARTMETER_DATA_DIR", str(data_dir))

    assert load_settings().data_dir == data_dir


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("KAFKA_BROKERS")
    monkeypatch.delenv("CLICKHOUSE_PASSWORD")

    with pytest.raises(SmartmeterError) as caught:
        load_settings(tmp_path)

    assert str(caught.value) == (
        f"no stack in {tmp_path}: run `smartmeter up`, or set CLICKHOUSE_PASSWORD, KAFKA_BROKERS"
    )


def test_settings_are_frozen_and_do_not_show_passwords(data_dir: Path) -> None:
    settings = load_settings(data_dir)

    assert "a=b" not in repr(settings)
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        settings.kafka_topic = "other"


def test_parse_env_file() -> None:
    assert parse_env_file("A=1\n # no\n\n B = x=y \n") == {"A": "1", "B": "x=y"}


def blue(folder: Path) -> str:
    """A file that says another deployment."""
    file = folder / "blue.yaml"
    text = (DEPLOYMENTS / "embedded.yaml").read_text()
    file.write_text(text.replace("name: embedded", "name: blue").replace('prefix: ""', "prefix: blue."))
    return str(file)


def test_the_named_deployment_wins_over_the_environments_and_that_over_the_stacks(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = json.loads((data_dir / "stack.json").read_text())
    (data_dir / "stack.json").write_text(json.dumps({**stack, "deployment": blue(data_dir)}))
    assert load_settings(data_dir).deployment.name == "blue"

    monkeypatch.setenv("SMARTMETER_DEPLOYMENT", "embedded")
    assert load_settings(data_dir).deployment.name == "embedded"
    assert load_settings(data_dir, blue(data_dir)).deployment.name == "blue"


def test_plan_says_so_where_the_stack_was_started_with_another_deployment(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = json.loads((data_dir / "stack.json").read_text())
    (data_dir / "stack.json").write_text(json.dumps({**stack, "deployment": blue(data_dir)}))
    for deployment, sentence in (("embedded", "This is deployment embedded; the stack was started with "), (None, "")):
        where = Where(data_dir, deployment)
        where.tell_deployment(where.settings())
        shown = capsys.readouterr().err
        assert shown.startswith(sentence)
        assert bool(shown) == bool(sentence)


def test_a_deployment_with_a_prefix_has_a_raw_topic_and_a_folder_of_its_own(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(data_dir, blue(data_dir))
    assert settings.kafka_topic == "blue.smart-meter-data"
    assert (settings.stack_dir, settings.data_dir) == (data_dir, data_dir / "deployments" / "blue")

    monkeypatch.setenv("KAFKA_TOPIC", "readings")
    assert load_settings(data_dir, blue(data_dir)).kafka_topic == "readings"
    raw = load_deployed(load_settings(data_dir, blue(data_dir)))[RAW]
    assert (raw.topic, raw.dead_letter_topic) == ("readings", "readings-dead-letters")
    assert consumer_group(raw) == "blue.clickhouse-raw_data"


def test_the_raw_topic_is_the_manifests() -> None:
    assert load_datasets()[RAW].topic == RAW_TOPIC


def test_a_database_in_the_url_wins(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(data_dir).deployment.clickhouse.database == "default"
    monkeypatch.setenv("CLICKHOUSE_URL", "http://127.0.0.1:8123/meters")
    assert load_settings(data_dir).deployment.clickhouse.database == "meters"


def test_a_deployment_that_names_no_dataset_is_refused(data_dir: Path) -> None:
    file = Path(blue(data_dir))
    file.write_text(file.read_text().replace("pipeline_metrics", "pipeline_metric"))
    with pytest.raises(
        SmartmeterError, match=r"deployment blue: kafka\.partitions\.datasets\.pipeline_metric: no such"
    ):
        load_deployed(load_settings(data_dir, str(file)))


def test_the_streams_environment_wins_over_the_deployment(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path(blue(data_dir))
    text = file.read_text().replace("shuffle_partitions: 2", "shuffle_partitions: 6")
    file.write_text(text.replace("checkpoints: null", "checkpoints: s3a://bucket/state/"))
    settings = load_settings(data_dir, str(file))

    of_deployment = stream_settings(settings.deployment)
    assert (of_deployment.shuffle_partitions, of_deployment.lateness_s) == (6, 60)
    assert checkpoint_folder(settings, of_deployment) == "s3a://bucket/state/blue"

    monkeypatch.setenv("STREAM_SHUFFLE_PARTITIONS", "3")
    monkeypatch.setenv("STREAM_CHECKPOINTS", "/mnt/state")
    of_environment = stream_settings(settings.deployment)
    assert of_environment.shuffle_partitions == 3
    assert checkpoint_folder(settings, of_environment) == "/mnt/state/blue"


def test_checkpoints_are_below_the_data_directory_by_default(data_dir: Path) -> None:
    settings = load_settings(data_dir)
    assert checkpoint_folder(settings, stream_settings(settings.deployment)) == str(data_dir / "checkpoints")
