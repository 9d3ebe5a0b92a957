"""Start the front: `python -m clickhouse.front --path DIR --port P --schema-registry-url URL --schema-cache DIR`."""

import asyncio
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
import uvicorn
from pydantic import BaseModel, ConfigDict, SecretStr

from clickhouse.front.access import Credentials
from clickhouse.front.app import Front
from clickhouse.front.connections import BoundedConnection
from clickhouse.front.errors import QueryError
from clickhouse.front.limits import MAX_HEAD_BYTES, UNREAD_S
from clickhouse.front.mirror import SchemaMirror, registry_fetch
from clickhouse.front.supervisor import Supervisor
from infra.base.same_origin import LOOPBACK_NAMES

CLOSE_DEADLINE_S = 20.0
log = logging.getLogger("clickhouse.front")


class Server(uvicorn.Server):
    """uvicorn without its way of ending: the engine closes first, and may ask for schemas until then."""

    def capture_signals(self) -> Any:
        return nullcontext()


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
@click.option("--threads", type=click.IntRange(min=1), default=8, show_default=True, help="Queries at once, per user.")
@click.option("--open-to-all-files", is_flag=True, help="For tests: leave the engine's process unconfined.")
def main(
    path: Path,
    host: str,
    port: int,
    schema_registry_url: str,
    schema_cache: Path,
    threads: int,
    open_to_all_files: bool,
) -> None:
    """Serve the in-process ClickHouse engine over ClickHouse's HTTP interface.

    \b
    Example: CLICKHOUSE_USER=admin CLICKHOUSE_PASSWORD=… CLICKHOUSE_READER_USER=reader CLICKHOUSE_READER_PASSWORD=… \\
      python -m clickhouse.front --path data --port 8123 --schema-registry-url http://127.0.0.1:8081/apis/ccompat/v7 \\
      --schema-cache schemas
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    os.umask(0o077)
    credentials = read_settings(os.environ).credentials()
    for name in FrontSettings.model_fields:  # the engine's process inherits the rest
        os.environ.pop(name.upper())
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    mirror = SchemaMirror(schema_cache, registry_fetch(schema_registry_url))
    engine = Supervisor(path.resolve(), threads, confine=not open_to_all_files)
    front = Front(engine, mirror, credentials, path.resolve() / "front-spool", LOOPBACK_NAMES | {host.lower()})
    code = asyncio.run(_serve(front, engine, mirror, host, port))
    logging.shutdown()
    os._exit(code)  # threads that ask a silent registry would keep the process


async def _serve(front: Front, engine: Supervisor, mirror: SchemaMirror, host: str, port: int) -> int:
    # An answer that breaks off on purpose is no error of the server's.
    logging.getLogger("uvicorn.error").addFilter(lambda record: "without completing" not in record.getMessage())
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    config = uvicorn.Config(
        front,
        http=BoundedConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_keep_alive=60,
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[_listening(host, port)]))
    # Only now: tables with a Kafka engine ask this server for schemas as soon as the engine is open.
    starting = asyncio.create_task(engine.start())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            log.info("serving on http://%s:%d, engine %s", host, port, engine.version)
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    except QueryError as error:
        log.error("%s", error)
        return 1
    # A Kafka table that waits for a schema would not let the engine close. It has committed nothing for those
    # messages, so the next start reads them again; ending its wait with an error would set good messages aside.
    if mirror.held:
        log.warning("leaving without closing the engine: %d requests for schemas wait for the registry", mirror.held)
    await engine.close(0 if mirror.held else CLOSE_DEADLINE_S)
    return 0 if stop.is_set() else 1


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # inherited by its connections: who never reads loses his in the end
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNREAD_S * 2000))
    listening.bind((host, port))
    return listening


if __name__ == "__main__":
    main()
