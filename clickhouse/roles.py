"""The reader's rights and limits as SQL for a ClickHouse server, which has no front: the same as the front gives.

`smartmeter apply` makes them so on a server that keeps roles, and `smartmeter apply --print-roles` prints them;
`clickhouse/roles.sql` is the committed example. A server gives rights for functions and table functions by source
(FILE, URL, …), of which this role has none, so it needs no list of functions.
"""

import sys

from clickhouse.front.access import identifier
from clickhouse.front.limits import READER_MAX_EXECUTION_TIME_S, READER_MAX_MEMORY_BYTES
from clickhouse.front.reader import SYSTEM_TABLES

ROLE = "smartmeter_reader"
READER_MAX_RESULT_ROWS = 10_000_000
READER_MAX_ROWS_TO_READ = 20_000_000_000
READER_MAX_QUERIES_AT_ONCE = 32


def role_of(database: str) -> str:
    """The reader's role of one database: two deployments on one server have readers of their own."""
    return ROLE if database == "default" else f"{ROLE}_of_{database}"


def statements(database: str = "default", cluster: str | None = None) -> list[str]:
    """Statements that make the reader's role and settings; applied again they change nothing.

    Give the role to a user: `GRANT smartmeter_reader TO grafana`, whose default role it should be.
    """
    on = f" ON CLUSTER {identifier(cluster)}" if cluster else ""
    role, limits = identifier(role_of(database)), identifier(f"{role_of(database)}_limits")
    constraints = ",\n  ".join(
        [
            "readonly = 2 CONST",
            f"max_execution_time = {READER_MAX_EXECUTION_TIME_S} MIN 0.001 MAX {READER_MAX_EXECUTION_TIME_S}",
            f"max_memory_usage = {READER_MAX_MEMORY_BYTES} MIN 1 MAX {READER_MAX_MEMORY_BYTES}",
            f"max_rows_to_read = {READER_MAX_ROWS_TO_READ} MIN 1 MAX {READER_MAX_ROWS_TO_READ}",
            f"max_result_rows = {READER_MAX_RESULT_ROWS} MIN 1 MAX {READER_MAX_RESULT_ROWS}",
            f"max_concurrent_queries_for_user = {READER_MAX_QUERIES_AT_ONCE} CONST",
            "compatibility CONST",
            "stream_like_engine_allow_direct_select CONST",
            "dialect CONST",
            "format_schema CONST",
            "format_template_row CONST",
            "format_template_resultset CONST",
            "format_avro_schema_registry_url CONST",
            "additional_table_filters CONST",
            "additional_result_filter CONST",
        ]
    )
    return [
        f"CREATE SETTINGS PROFILE OR REPLACE {limits}{on} SETTINGS\n  {constraints}",
        f"CREATE ROLE IF NOT EXISTS {role}{on} SETTINGS PROFILE {limits}",
        f"GRANT{on} SELECT, SHOW TABLES, SHOW COLUMNS ON {identifier(database)}.* TO {role}",
        *(f"GRANT{on} SELECT ON system.{table} TO {role}" for table in sorted(SYSTEM_TABLES)),
    ]


def render(database: str = "default", cluster: str | None = None) -> str:
    """The statements as a script."""
    return "".join(f"{statement};\n" for statement in statements(database, cluster))


def main() -> None:
    sys.stdout.write(render(*sys.argv[1:3]))


if __name__ == "__main__":
    main()
