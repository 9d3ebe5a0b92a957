"""Where and how the contracts run: names, partitions, replicas, database, Spark. One YAML file is one deployment.

A manifest in `schemas/contracts` says what data means, and is the same everywhere. Addresses and secrets are in neither
file: they come from the environment (see `infra.base.settings`).
"""

from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from infra.base.errors import SmartmeterError

DEPLOYMENTS = Path(__file__).parents[1] / "deployments"
EMBEDDED = "embedded"

Positive = Annotated[int, Field(ge=1)]
Prefix = Annotated[str, StringConstraints(pattern=r"^([a-z][a-z0-9_-]*\.)*$", max_length=60)]
Database = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]


class Section(BaseModel):
    """A mapping of the file. Unknown keys are errors, and a number in quotes is no number."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Partitions(Section):
    """How many partitions a dataset's topic has. They cannot be changed in place: `plan` shows it, `apply` refuses."""

    default: Positive
    datasets: dict[str, Positive] = Field(default_factory=dict)

    def of(self, dataset: str) -> int:
        """The number of partitions of a dataset's topic."""
        return self.datasets.get(dataset, self.default)


class KafkaDeployment(Section):
    """How topics lie on the brokers. A message is acknowledged when `min_insync_replicas` brokers have it."""

    partitions: Partitions
    replication_factor: Positive
    min_insync_replicas: Positive = 1

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        if self.min_insync_replicas > self.replication_factor:
            raise ValueError(
                f"min_insync_replicas is {self.min_insync_replicas} and replication_factor {self.replication_factor}: "
                "no message could be acknowledged"
            )
        return self


class ClickHouseDeployment(Section):
    """Where the tables are. A path in CLICKHOUSE_URL names another database, and wins."""

    database: Database = "default"


class SparkDeployment(Section):
    """How the streaming application runs; the variables STREAM_SHUFFLE_PARTITIONS and STREAM_CHECKPOINTS win."""

    shuffle_partitions: Positive = 2
    checkpoints: str | None = None
    """A folder or URL that Spark can write; None: below the data directory."""


class Fleet(Section):
    """What the deployment's meters measure, where that is not what the contracts say; None: as they say.

    A reading beyond `power_max_kw`, of either sign, is out of contract. One beyond the voltage limits is an anomaly.
    Rows that were made with other limits stay as they are until `smartmeter replay` makes them anew.
    """

    power_max_kw: Annotated[float, Field(gt=0, le=100_000)] | None = None
    voltage_lower_v: Annotated[float, Field(ge=0)] | None = None
    voltage_upper_v: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _limits_come_together(self) -> Self:
        lower, upper = self.voltage_lower_v, self.voltage_upper_v
        if (lower is None) != (upper is None):
            raise ValueError("voltage_lower_v and voltage_upper_v belong together; say both")
        if lower is not None and upper is not None and lower >= upper:
            raise ValueError(f"voltage_lower_v is {lower:g} and voltage_upper_v {upper:g}: no voltage would be right")
        return self

    @property
    def parameters(self) -> dict[str, float]:
        """Those of the contracts' parameters that it says."""
        said = {"voltage_lower_v": self.voltage_lower_v, "voltage_upper_v": self.voltage_upper_v}
        return {name: value for name, value in said.items() if value is not None}


class Deployment(Section):
    """One environment. Two with different prefixes and databases share brokers, registry and ClickHouse unmet."""

    name: str
    description: str
    prefix: Prefix = ""
    """What names of topics, subjects, consumer groups and transactional ids begin with. They have no other dot."""
    kafka: KafkaDeployment
    clickhouse: ClickHouseDeployment = ClickHouseDeployment()
    spark: SparkDeployment = SparkDeployment()
    fleet: Fleet = Fleet()

    def named(self, name: str) -> str:
        """A topic, group or transactional id of this deployment."""
        return f"{self.prefix}{name}"

    def owns(self, name: str) -> bool:
        """Whether a topic or subject has this deployment's prefix, and not a longer one."""
        return name.startswith(self.prefix) and "." not in name.removeprefix(self.prefix)


def load_deployment(name_or_file: str = EMBEDDED, folder: Path = DEPLOYMENTS) -> Deployment:
    """The deployment of a name (a file in `folder`) or of a YAML file elsewhere, which has a slash or a suffix.

    Raises SmartmeterError that names the file, the key and what there is instead.
    """
    path = deployment_file(name_or_file, folder)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(sorted(each.stem for each in folder.glob("*.yaml")))
        raise SmartmeterError(
            f"no deployment {name_or_file}: {path} is not there; {folder} has {known}. Name one, or a YAML file"
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SmartmeterError(f"{path}: cannot be read as YAML ({error})") from error
    try:
        deployment = Deployment.model_validate(raw)
    except ValidationError as error:
        raise SmartmeterError(f"{path}: {'; '.join(_sentence(dict(fault)) for fault in error.errors())}") from error
    if deployment.name != path.stem:
        raise SmartmeterError(f"{path}: name is {deployment.name}; it must be the file's stem, {path.stem}")
    return deployment


def deployment_file(name_or_file: str, folder: Path = DEPLOYMENTS) -> Path:
    """The file that a name or a file stands for, whether or not it is there."""
    if "/" in name_or_file or name_or_file.endswith((".yaml", ".yml")):
        return Path(name_or_file).absolute()
    return folder / f"{name_or_file}.yaml"


def _sentence(fault: dict[str, Any]) -> str:
    """One of pydantic's complaints: the key, what is wrong, and for an unknown key those that there are."""
    key = ".".join(map(str, fault["loc"])) or "the file"
    if fault["type"] == "extra_forbidden":
        return f"{key}: no such key; there are {', '.join(_keys(fault['loc'][:-1]))}"
    return f"{key}: {fault['msg'].removeprefix('Value error, ')}"


def _keys(path: tuple[str | int, ...]) -> list[str]:
    """The keys that the section at `path` may have."""
    section: Any = Deployment
    for key in path:
        section = section.model_fields[key].annotation
    return list(section.model_fields)
