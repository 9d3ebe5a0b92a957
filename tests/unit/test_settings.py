import json
from pathlib import Path

import pydantic
import pytest

from infra.base.errors import SmartmeterError
from infra.base.settings import Settings, load_settings, parse_env_file

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
    monkeypatch.delenv("SMARTMETER_DATA_DIR", raising=False)


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
