"""Panels' questions to ClickHouse over HTTP."""

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from grafana.data import Ask, Frame
from infra.base.errors import SmartmeterError


def asking(client: Client) -> Ask:
    """Ask through this client, which threads may share; instants come back aware."""

    def ask(sql: str) -> Frame:
        try:
            result = client.query(sql, tz_mode="aware")
            rows = result.result_rows
        except ClickHouseError as error:
            raise SmartmeterError(f"ClickHouse refuses the query: {error}") from error
        return Frame(tuple(result.column_names), tuple(kind.name for kind in result.column_types), rows)

    return ask
