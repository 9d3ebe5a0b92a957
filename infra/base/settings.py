"""Where the services are and how to log in: one frozen model, built once, in the entry point of a process.

Each value comes from the environment, else from the data directory of an embedded stack (`stack.json` for addresses,
`secrets.env` for users and passwords).
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, SecretStr

from infra.base.errors import SmartmeterError
from infra.base.kafka_connection import KafkaConnection

DEFAULT_DATA_DIR = Path(".smartmeter")
STACK_FILE = "stack.json"
SECRETS_FILE = "secrets.env"


class Settings(BaseModel):
    """Addresses and credentials of one deployment, embedded or not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path
    kafka_brokers: str
    kafka_topic: str = "smart-meter-data"
    schema_registry_url: str
    clickhouse_url: str
    clickhouse_user: str
    clickhouse_password: SecretStr
    clickhouse_reader_user: str
    clickhouse_reader_password: SecretStr
    clickhouse_schema_registry_url: str
    """The schema registry as the ClickHouse server reaches it."""

    @property
    def kafka(self) -> KafkaConnection:
        """How this deployment's Kafka is reached."""
        return KafkaConnection(brokers=self.kafka_brokers)


def parse_env_file(text: str) -> dict[str, str]:
    """The `NAME=value` lines of an env file; blank lines and lines that begin with `#` say nothing."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def resolve(environment: Mapping[str, str], stack: Mapping[str, object], secrets: Mapping[str, str]) -> dict[str, str]:
    """Values by field name of `Settings`: the environment wins over the stack's own files; an empty value is unset.

    The registry as ClickHouse reaches it is the registry itself where nothing else is said.
    """
    values: dict[str, str] = {}
    for field in Settings.model_fields.keys() - {"data_dir"}:
        name = field.upper()
        value = environment.get(name) or secrets.get(name) or stack.get(field)
        if value:
            values[field] = str(value)
    if "schema_registry_url" in values:
        values.setdefault("clickhouse_schema_registry_url", values["schema_registry_url"])
    return values


def load_settings(data_dir: Path | None = None) -> Settings:
    """Settings of this process; `data_dir` defaults to SMARTMETER_DATA_DIR, else `.smartmeter` in the current folder.

    Raises SmartmeterError that names the missing variables where neither the environment nor the directory has them.
    """
    folder = (data_dir or Path(os.environ.get("SMARTMETER_DATA_DIR") or DEFAULT_DATA_DIR)).absolute()
    stack_file, secrets_file = folder / STACK_FILE, folder / SECRETS_FILE
    stack = json.loads(stack_file.read_text()) if stack_file.exists() else {}
    secrets = parse_env_file(secrets_file.read_text()) if secrets_file.exists() else {}
    values = resolve(os.environ, stack, secrets)
    required = {name for name, field in Settings.model_fields.items() if field.is_required()} - {"data_dir"}
    if missing := sorted(name.upper() for name in required - values.keys()):
        where = f"no stack in {folder}" if not stack else f"the stack in {folder} does not say all"
        raise SmartmeterError(f"{where}: run `smartmeter up`, or set {', '.join(missing)}")
    return Settings.model_validate({**values, "data_dir": folder})
