"""Settings of the streaming application, from the environment."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class StreamSettings(BaseSettings):
    """How the application trades latency for cost; a new lateness or trigger takes effect at the next start.

    `lateness_s`: how long after the newest reading a window still waits for others, in event time. `shuffle_partitions`
    is fixed by the first start: the checkpoint holds state by partition.
    """

    model_config = SettingsConfigDict(frozen=True, env_prefix="STREAM_")

    lateness_s: int = Field(default=60, ge=0)
    trigger_s: int = Field(default=5, ge=0)
    max_messages_per_trigger: int = Field(default=1_000_000, ge=1)
    shuffle_partitions: int = Field(default=2, ge=1)
    cores: int = Field(default=2, ge=1)
    driver_memory: str = "2g"
