"""History from ClickHouse: the merged rows of anomaly_prediction_features as Arrow, read as the reading user."""

from contextlib import closing
from typing import Any

import numpy as np
import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError

from infra.base.clickhouse_client import connect
from infra.base.columns import Column
from infra.base.errors import SmartmeterError, first_line
from infra.base.settings import Settings
from ml.features import INPUTS
from ml.truth import COUNTS, DATASET

TABLE = f"{DATASET}_latest"
FIELDS = ("meter_id", "window_start", *INPUTS, *COUNTS)


def read_table(settings: Settings, most_windows: int) -> tuple[dict[str, Column], dict[str, Any]]:
    """Rows of the contract, with their `offset`, and a description of them for the manifest.

    If there are more than `most_windows`, only some of the meters are read, chosen by a hash of their ids. Raises
    SmartmeterError if ClickHouse does not answer or lacks the table.
    """
    with closing(connect(settings, reader=True)) as client:
        try:
            total = int(client.query(f"SELECT count() FROM {TABLE}").result_rows[0][0])
            one_in = max(1, -(-total // most_windows))
            columns = ", ".join(name for name in FIELDS if name != "window_start")
            table = client.query_arrow(
                f"SELECT toUnixTimestamp64Milli(window_start) AS window_start, {columns}, offset FROM {TABLE} "
                f"WHERE intHash64(meter_id) % {one_in} = 0"
            )
        except ClickHouseError as error:
            raise SmartmeterError(
                f"ClickHouse did not give {TABLE}: {first_line(error)}; has `smartmeter apply` run?"
            ) from error
    return columns_of(table), {"kind": "clickhouse", "table": TABLE, "rows": total, "meters_one_in": one_in}


def columns_of(table: pa.Table) -> dict[str, Column]:
    """Columns of numbers; a null becomes NaN."""
    columns = {}
    for name in table.column_names:
        column = table.column(name)
        if column.null_count:
            column = column.cast(pa.float64())
        columns[name] = np.asarray(column.to_numpy())
    return columns
