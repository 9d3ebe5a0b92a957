"""A query of Grafana's ClickHouse data source, and the data source itself by its fixed uid."""

from enum import IntEnum
from typing import Any

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.dashboard import DataSourceRef

DATASOURCE_TYPE = "grafana-clickhouse-datasource"
DATASOURCE_UID = "smartmeter-clickhouse"
PLUGIN_VERSION = "4.14.0"
DATASOURCE = DataSourceRef(type_val=DATASOURCE_TYPE, uid=DATASOURCE_UID)


class Format(IntEnum):
    """What the plugin makes of the rows.

    `TIME_SERIES`: one series per combination of text columns, so rows must come in order of time and ids as text.
    """

    TIME_SERIES = 0
    TABLE = 1


class ClickHouseQuery(Dataquery):
    """One SQL query as the plugin stores it; the SDK knows no class for this plugin."""

    def __init__(self, sql: str, format_: Format, ref_id: str = "A") -> None:
        self.sql = sql
        self.format = format_
        self.ref_id = ref_id

    def to_json(self) -> dict[str, Any]:
        return {
            "refId": self.ref_id,
            "datasource": {"type": DATASOURCE_TYPE, "uid": DATASOURCE_UID},
            "editorType": "sql",
            "rawSql": self.sql,
            "format": int(self.format),
            "queryType": "timeseries" if self.format is Format.TIME_SERIES else "table",
            "pluginVersion": PLUGIN_VERSION,
        }


class Query(Builder[ClickHouseQuery]):
    """The SDK's panels take builders."""

    def __init__(self, sql: str, format_: Format, ref_id: str = "A") -> None:
        self._query = ClickHouseQuery(sql, format_, ref_id)

    def build(self) -> ClickHouseQuery:
        return self._query
