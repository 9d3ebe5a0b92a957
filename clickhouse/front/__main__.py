"""Start the front: `python -m clickhouse.front --path DIR --port P --schema-registry-url URL --schema-cache DIR`."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import click
import waitress
from pydantic import BaseModel, ConfigDict, SecretStr

from clickhouse.front.access import Credentials
from clickhouse.front.app import Front
from clickhouse.front.engine import Engine
from clickhouse.front.mirror import SchemaMirror, registry_fetch

MIRROR_THREADS = 32
CLOSE_DEADLINE_S = 20.0

log = logging.getLogger("clickhouse.front")


class FrontSettings(BaseModel):
    """The two users, from the environment variables of the same names in capitals."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    clickhouse_user: str
    clickhouse_password: SecretStr
    clickhouse_reader_user: str
    clickhouse_reader_password: SecretStr

    def credentials(self) -> Credentials:
        return Credentials(
            admin=(self.clickhouse_user, self.clickhouse_password.get_secret_value()),
            reader=(self.clickhouse_reader_user, self.clickhouse_reader_password.get_secret_value()),
        )


def read_settings(environment: Mapping[str, str]) -> FrontSettings:
    missing = [name for name in map(str.upper, FrontSettings.model_fields) if not environment.get(name)]
    if missing:
        raise click.UsageError(f"set {', '.join(missing)} in the environment: the front needs both users' credentials")
    return FrontSettings.model_validate({name: environment[name.upper()] for name in FrontSettings.model_fields})


@click.command()
@click.option("--path", type=click.Path(path_type=Path, file_okay=False), required=True, help="The engine's folder.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=int, required=True)
@click.option("--schema-registry-url", required=True, help="Where schemas come from that are not in the cache.")
@click.option("--schema-cache", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--threads", type=click.IntRange(min=1), default=8, show_default=True, help="Queries that run at once.")
def main(path: Path, host: str, port: int, schema_registry_url: str, schema_cache: Path, threads: int) -> None:
    """Serve the in-process ClickHouse engine over ClickHouse's HTTP interface.

    \b
    Example: CLICKHOUSE_USER=admin CLICKHOUSE_PASSWORD=… CLICKHOUSE_READER_USER=reader CLICKHOUSE_READER_PASSWORD=… \\
      python -m clickhouse.front --path data --port 8123 --schema-registry-url http://127.0.0.1:8081/apis/ccompat/v7 \\
      --schema-cache schemas
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    credentials = read_settings(os.environ).credentials()
    mirror = SchemaMirror(schema_cache, registry_fetch(schema_registry_url))
    engine = Engine(path.resolve(), threads)
    front = Front(engine, mirror, credentials, path.resolve() / "front-spool")
    server = waitress.create_server(
        front,
        host=host,
        port=port,
        # Running and waiting queries never take the threads that the engine needs to ask for schemas.
        threads=threads * 4 + MIRROR_THREADS,
        channel_request_lookahead=1,  # notices that a client has gone while its query runs
        send_bytes=1,  # blanks that keep an answer alive must leave at once
        outbuf_high_watermark=4 << 20,
        max_request_body_size=1 << 40,
        connection_limit=1000,
        ident=None,
    )
    threading.Thread(target=server.run, name="http", daemon=True).start()
    # Only now: tables with a Kafka engine ask this server for schemas as soon as the engine is open.
    engine.open()
    log.info("serving %s on http://%s:%d, engine %s", path, host, port, engine.version)
    stop.wait()
    _shut_down(engine, mirror)


def _shut_down(engine: Engine, mirror: SchemaMirror) -> None:
    """Close the engine; where that cannot end because a Kafka table waits for a schema, leave as a crash would.

    Such a table has committed nothing for those messages, so the next start reads them again. Ending its wait with an
    error instead would set good messages aside as unreadable.
    """
    closing = threading.Thread(target=engine.close, name="close", daemon=True)
    if not mirror.held:
        closing.start()
        closing.join(CLOSE_DEADLINE_S)
    if mirror.held or closing.is_alive():
        log.warning("leaving without closing the engine: %d requests for schemas wait for the registry", mirror.held)
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
