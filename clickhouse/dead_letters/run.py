"""Entry point of the service: one process of the data directory, recorded as a part."""

from collections.abc import Mapping
from contextlib import suppress
from threading import Event

from clickhouse_connect.driver.client import Client
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from clickhouse.dead_letters.service import Service, run
from infra.base import parts
from infra.base.clickhouse_client import connect, query_with
from infra.base.query import Query, ResultRows
from infra.base.settings import Settings
from infra.base.share_limit import ShareLimit
from schemas.manifest import load_deployed

PART = "dead-letters"


class DeadLetterSettings(BaseSettings):
    """When to stop instead of writing dead letters; see infra.base.share_limit.ShareLimit."""

    model_config = SettingsConfigDict(frozen=True, env_prefix="DEAD_LETTER_")

    max_share: float = Field(default=0.05, ge=0, le=1)
    window: int = Field(default=10_000, ge=1)
    minimum: int = Field(default=1_000, ge=1)

    @property
    def limit(self) -> ShareLimit:
        """The limit that they state."""
        return ShareLimit(self.max_share, self.window, self.minimum)


def run_dead_letters(settings: Settings, limit: ShareLimit, stop: Event, once: bool) -> int:
    """Write dead letters until stopped, or once; returns how many. Raises SmartmeterError when it runs already."""
    prefix = settings.deployment.prefix
    with parts.this_process_is(settings.stack_dir, f"{prefix}{PART}", "the dead-letter service"):
        service = Service(load_deployed(settings), settings.kafka, lazy_query(settings), limit, prefix)
        return run(service, stop, once)


def lazy_query(settings: Settings) -> Query:
    """Queries as the reading user. ClickHouse is connected to when first asked, and again after an outage."""
    clients: list[Client] = []

    def query(sql: str, parameters: Mapping[str, float] | None = None) -> ResultRows:
        if not clients:
            clients.append(connect(settings, reader=True))
        try:
            return query_with(clients[0])(sql, parameters)
        except Exception:
            with suppress(OSError):
                clients.pop().close()
            raise

    return query
