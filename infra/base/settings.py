"""Where the services are and how to log in: one frozen model, built once, in the entry point of a process.

Each value comes from the environment, else from the data directory of an embedded stack (`stack.json` for addresses,
`secrets.env` for users and passwords). How things lie there is the deployment's, a file (see `infra.base.deployment`).
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr

from infra.base.deployment import EMBEDDED, Deployment, load_deployment
from infra.base.errors import SmartmeterError
from infra.base.kafka_connection import KafkaConnection

DEFAULT_DATA_DIR = Path(".smartmeter")
STACK_FILE = "stack.json"
SECRETS_FILE = "secrets.env"
RAW_TOPIC = "smart-meter-data"
"""As the manifest of raw_data has it."""
NOT_VARIABLES = {"stack_dir", "data_dir", "deployment"}
"""Fields of `Settings` that no variable of the same name in capitals gives."""


class Settings(BaseModel):
    """Addresses and credentials of one deployment, embedded or not, and the deployment itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stack_dir: Path
    """The data directory that was named: the embedded stack's files, and which process is which part."""
    data_dir: Path
    """What this deployment keeps on this machine: checkpoints, progress, models (see `state_dir`)."""
    deployment: Deployment
    kafka_brokers: str
    kafka_topic: str
    """The raw topic's whole name: KAFKA_TOPIC as it stands, without the prefix; else the manifest's with it."""
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
    for field in Settings.model_fields.keys() - NOT_VARIABLES:
        name = field.upper()
        value = environment.get(name) or secrets.get(name) or stack.get(field)
        if value:
            values[field] = str(value)
    if "schema_registry_url" in values:
        values.setdefault("clickhouse_schema_registry_url", values["schema_registry_url"])
    return values


def load_settings(data_dir: Path | None = None, deployment: str | None = None) -> Settings:
    """Settings of this process.

    `data_dir` defaults to SMARTMETER_DATA_DIR, else `.smartmeter` in the current folder; `deployment`, a name or file,
    to SMARTMETER_DEPLOYMENT, else to the one that the stack was started with, else to `embedded`.
    Raises SmartmeterError that names the missing variables where neither the environment nor the directory has them.
    """
    folder = stack_folder(data_dir)
    secrets_file = folder / SECRETS_FILE
    stack = read_stack(folder)
    secrets = parse_env_file(secrets_file.read_text()) if secrets_file.exists() else {}
    values = resolve(os.environ, stack, secrets)
    required = {name for name, field in Settings.model_fields.items() if field.is_required()} - {
        *NOT_VARIABLES,
        "kafka_topic",
    }
    if missing := sorted(name.upper() for name in required - values.keys()):
        where = f"no stack in {folder}" if not stack else f"the stack in {folder} does not say all"
        raise SmartmeterError(f"{where}: run `smartmeter up`, or set {', '.join(missing)}")
    chosen = chosen_deployment(folder, deployment)
    if database := urlsplit(values["clickhouse_url"]).path.strip("/"):
        clickhouse = chosen.clickhouse.model_copy(update={"database": database})
        chosen = chosen.model_copy(update={"clickhouse": clickhouse})
    values.setdefault("kafka_topic", chosen.named(RAW_TOPIC))
    places = {"stack_dir": folder, "data_dir": state_dir(folder, chosen), "deployment": chosen}
    return Settings.model_validate({**values, **places})


def stack_folder(data_dir: Path | None) -> Path:
    """The data directory: the given one, else that of SMARTMETER_DATA_DIR, else `.smartmeter` here."""
    return (data_dir or Path(os.environ.get("SMARTMETER_DATA_DIR") or DEFAULT_DATA_DIR)).absolute()


def read_stack(folder: Path) -> dict[str, Any]:
    """What the embedded stack of a data directory remembers; nothing where there was none."""
    path = folder / STACK_FILE
    stack: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return stack


def chosen_deployment(folder: Path, name_or_file: str | None) -> Deployment:
    """The deployment that is meant: the named one, else the environment's, else the stack's, else `embedded`."""
    remembered = read_stack(folder).get("deployment")
    return load_deployment(name_or_file or os.environ.get("SMARTMETER_DEPLOYMENT") or remembered or EMBEDDED)


def state_dir(folder: Path, deployment: Deployment) -> Path:
    """What a deployment keeps below a data directory: all of it without a prefix, else a folder beside the others'."""
    return folder / "deployments" / deployment.prefix.rstrip(".") if deployment.prefix else folder
