"""Settings of the streaming application, from the environment."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.base.deployment import Deployment

NotNegative = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


class GrainSettings(BaseModel):
    """The settings of one grain; None: what the grain's file says, else what the application's settings say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lateness_s: NotNegative | None = None
    trigger_s: NotNegative | None = None
    max_messages_per_trigger: Positive | None = None


class StreamSettings(BaseSettings):
    """How the application trades latency for cost. A new lateness or trigger takes effect at the next start.

    `lateness_s`: how long after the newest reading a window still waits for others, in event time. `grains`: settings
    by grain, as JSON in STREAM_GRAINS. `shuffle_partitions` is fixed by the first start: the checkpoint holds state by
    partition. `checkpoints`: a folder or URL that Spark can write; None: below the data directory.
    `max_unreadable_share`: of a batch; where more of it is unreadable, the application ends.
    """

    model_config = SettingsConfigDict(frozen=True, env_prefix="STREAM_")

    lateness_s: NotNegative = 60
    trigger_s: NotNegative = 5
    max_messages_per_trigger: Positive = 1_000_000
    max_unreadable_share: float = Field(default=0.05, ge=0, le=1)
    grains: dict[str, GrainSettings] = Field(default_factory=dict)
    shuffle_partitions: Positive = 2
    checkpoints: str | None = None
    cores: Positive = 2
    driver_memory: str = "2g"


def stream_settings(deployment: Deployment) -> StreamSettings:
    """The settings of a deployment's application: the environment's, else the deployment's, else the defaults."""
    settings = StreamSettings()
    of_deployment = deployment.spark.model_dump()
    unset = of_deployment.keys() - settings.model_fields_set
    return settings.model_copy(update={name: of_deployment[name] for name in unset})
