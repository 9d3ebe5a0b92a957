"""The data source as Grafana's provisioning has it: over HTTP, as the reader, within the reader's limits."""

from pathlib import Path

from clickhouse.front.limits import READER_MAX_EXECUTION_TIME_S
from grafana.query import DATASOURCE_TYPE, DATASOURCE_UID

FILE = Path(__file__).parent / "provisioning" / "datasources" / "clickhouse.yaml"
DRIVER_ADDS_S = 5
"""The driver asks the server for what is left of its own time and this much more."""
SPARE_S = 5
QUERY_TIMEOUT_S = READER_MAX_EXECUTION_TIME_S - DRIVER_ADDS_S - SPARE_S
"""What the driver makes of it stays below what the reader may ask for; beyond, every query would be refused."""


def render() -> str:
    """The provisioning file. Grafana fills in ${...} from its own environment."""
    return f"""# Rendered from grafana/datasource.py by `smartmeter dashboards render`; do not edit.
# Grafana fills in the variables from its own environment. The reader can only read: queries of a dashboard are run as
# they are written.
apiVersion: 1

datasources:
  - name: Smart meters
    uid: {DATASOURCE_UID}
    type: {DATASOURCE_TYPE}
    access: proxy
    isDefault: true
    editable: false
    jsonData:
      protocol: http
      host: ${{CLICKHOUSE_HOST}}
      port: ${{CLICKHOUSE_PORT}}
      secure: false
      username: ${{CLICKHOUSE_READER_USER}}
      defaultDatabase: ${{CLICKHOUSE_DATABASE}}
      dialTimeout: "10"
      queryTimeout: "{QUERY_TIMEOUT_S}"
      validateSql: true
    secureJsonData:
      password: ${{CLICKHOUSE_READER_PASSWORD}}
"""
