"""A client for the deployment's ClickHouse, as administrator or as reader."""

from collections.abc import Mapping
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from requests import RequestException
from urllib3.exceptions import HTTPError

from infra.base.errors import SmartmeterError, first_line
from infra.base.query import Query, ResultRows
from infra.base.settings import Settings

CONNECT_TIMEOUT_S = 5
QUERY_TIMEOUT_S = 300
UNKNOWN_DATABASE = "UNKNOWN_DATABASE"
UNANSWERED = (SmartmeterError, ClickHouseError, RequestException, HTTPError, OSError)
"""What `connect` or a query may raise while ClickHouse is down or goes down: asking again later may help."""


def connect(settings: Settings, reader: bool = False, database: str | None = None) -> Client:
    """A client without a session, so that threads may share it; it reads and writes at most QUERY_TIMEOUT_S per query.

    `database` defaults to the deployment's. Raises SmartmeterError where ClickHouse cannot be reached, refuses the user
    or has no such database.
    """
    database = database or settings.deployment.clickhouse.database
    url = urlsplit(settings.clickhouse_url)
    user = settings.clickhouse_reader_user if reader else settings.clickhouse_user
    password = settings.clickhouse_reader_password if reader else settings.clickhouse_password
    secure = url.scheme == "https"
    try:
        return clickhouse_connect.get_client(
            host=url.hostname,
            port=url.port or (8443 if secure else 8123),
            secure=secure,
            database=database,
            username=user,
            password=password.get_secret_value(),
            connect_timeout=CONNECT_TIMEOUT_S,
            send_receive_timeout=QUERY_TIMEOUT_S,
            autogenerate_session_id=False,
        )
    except ClickHouseError as error:
        if UNKNOWN_DATABASE in str(error):
            raise SmartmeterError(
                f"ClickHouse at {settings.clickhouse_url} has no database {database}: run `smartmeter apply`"
            ) from error
        raise SmartmeterError(
            f"ClickHouse at {settings.clickhouse_url} does not serve user {user} ({first_line(error)}); "
            "is it running, and the password right? See `smartmeter status`"
        ) from error


def query_with(client: Client) -> Query:
    """The function that asks this client."""

    def query(sql: str, parameters: Mapping[str, float] | None = None) -> ResultRows:
        rows: ResultRows = client.query(sql, parameters=dict(parameters) if parameters else None).result_rows
        return rows

    return query
