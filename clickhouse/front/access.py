"""Who may do what in the engine: passwords, roles, grants, constraints.

The engine refuses CREATE USER, but it reads roles, grants and constraints from a file. So a reader's connection is
fresh, is switched to role `reader` (SELECT only) and constraint profile
`reader`, and runs exactly one statement. What the engine in process gives no rights for, functions, settings, formats,
the system's tables and Kafka's queues, is judged before by `reader`.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from xml.sax.saxutils import escape

from clickhouse.front.errors import AUTHENTICATION_FAILED, REQUIRED_PASSWORD, QueryError
from clickhouse.front.limits import (
    READER_MAX_EXECUTION_TIME_S,
    READER_MAX_MEMORY_BYTES,
    READER_MAX_SPILL_BYTES,
    READER_MAX_THREADS,
    READER_MIN_SPILL_BYTES,
)

# How long a partition stays with a front that was killed before its successor may read it; Kafka's default is 45 s.
KAFKA_SESSION_TIMEOUT_MS = 10_000
MARKER = "chdb_client_name"
"""The setting by which a statement that must be stopped is found again; no client has a use for it."""


class Role(Enum):
    ADMIN = "admin"
    READER = "reader"


@dataclass(frozen=True)
class Credentials:
    """Two users; neither password is ever logged."""

    admin: tuple[str, str]
    reader: tuple[str, str]

    def __repr__(self) -> str:
        return f"Credentials(admin={self.admin[0]!r}, reader={self.reader[0]!r})"


def authenticate(credentials: Credentials, user: str | None, password: str | None) -> Role:
    """The role of a user.

    Raises error 194 without a name, 516 for a wrong name or password. Takes the same time for both.
    """
    if not user:
        raise QueryError(
            REQUIRED_PASSWORD, "give a user and a password (X-ClickHouse-User and X-ClickHouse-Key, or Basic)"
        )
    found: Role | None = None
    for role, (name, secret) in ((Role.ADMIN, credentials.admin), (Role.READER, credentials.reader)):
        same_name = hmac.compare_digest(name.encode(), user.encode())
        same_secret = hmac.compare_digest(secret.encode(), (password or "").encode())
        if same_name and same_secret:
            found = role
    if found is None:
        raise QueryError(
            AUTHENTICATION_FAILED,
            f"{user}: Authentication failed: password is incorrect, or there is no user with such name",
        )
    return found


def without_role(settings: Mapping[str, str]) -> dict[str, str]:
    """A reader's settings without those that the role decides: clients send them, and they change nothing."""
    return {name: value for name, value in settings.items() if name not in {"readonly", "profile"}}


def preamble(role: Role, settings: Mapping[str, str], marker: str) -> str:
    """Settings and limits of a fresh connection, for all that it runs. `marker` finds the query when it must stop."""
    mark = {MARKER: marker}
    if role is Role.ADMIN:
        return _set({"implicit_select": "0"} | dict(settings) | mark)
    limits = {
        "implicit_select": "0",
        "max_execution_time": str(READER_MAX_EXECUTION_TIME_S),
        "max_memory_usage": str(READER_MAX_MEMORY_BYTES),
        "max_temporary_data_on_disk_size_for_query": str(READER_MAX_SPILL_BYTES),
    }
    asked = without_role(settings) | mark
    return "; ".join(["SET profile = 'reader'", _set(limits), _set(asked)])


RESTRICTIONS = "SET ROLE reader; SET readonly = 2"
"""What a reader's connection runs last before his statement; neither can be undone on it."""


def _set(settings: Mapping[str, str]) -> str:
    return "SET " + ", ".join(f"{name} = {quote(value)}" for name, value in settings.items())


def quote(value: str) -> str:
    """A SQL string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifier(name: str) -> str:
    """A SQL identifier, quoted."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


_BOUNDS = "".join(
    f"<{name}><{end}>{bound}</{end}></{name}>"
    for name, end, bound in (
        *(
            (f"max_bytes_before_external_{work}", "min", READER_MIN_SPILL_BYTES)
            for work in ("group_by", "sort", "join", "distinct")
        ),
        ("max_threads", "max", READER_MAX_THREADS),
        ("max_final_threads", "max", READER_MAX_THREADS),
        ("max_streams_to_max_threads_ratio", "max", 4),
        ("max_temporary_data_on_disk_size_for_query", "max", READER_MAX_SPILL_BYTES),
    )
)


def users_xml() -> str:
    """The engine's users file: one user whose two roles are what the front switches between.

    Inserts are synchronous: the engine does not tell how many rows an asynchronous one has written.
    """
    return f"""<clickhouse>
  <profiles>
    <default>
      <async_insert>0</async_insert>
    </default>
    <reader>
      <constraints>
        {_BOUNDS}
        <dialect><const/></dialect>
        <compatibility><const/></compatibility>
        <stream_like_engine_allow_direct_select><const/></stream_like_engine_allow_direct_select>
        <max_execution_time><min>0.001</min><max>{READER_MAX_EXECUTION_TIME_S}</max></max_execution_time>
        <max_memory_usage><min>1</min><max>{READER_MAX_MEMORY_BYTES}</max></max_memory_usage>
      </constraints>
    </reader>
  </profiles>
  <roles>
    <admin><grants><query>GRANT ALL ON *.* WITH GRANT OPTION</query></grants></admin>
    <reader><grants><query>GRANT SELECT ON *.*</query></grants></reader>
  </roles>
  <users>
    <default>
      <password/>
      <networks><ip>127.0.0.1</ip><ip>::1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <grants><query>GRANT admin</query><query>GRANT reader</query></grants>
    </default>
  </users>
  <quotas><default/></quotas>
</clickhouse>
"""


def config_xml(users_file: str, kafka_threads: int) -> str:
    """The engine's configuration.

    Where the users file is, enough threads for Kafka tables, dropped tables gone at restart.
    """
    return f"""<clickhouse>
  <format_schema_path>/nonexistent/</format_schema_path>
  <user_directories><users_xml><path>{escape(users_file)}</path></users_xml></user_directories>
  <background_message_broker_schedule_pool_size>{kafka_threads}</background_message_broker_schedule_pool_size>
  <kafka><session_timeout_ms>{KAFKA_SESSION_TIMEOUT_MS}</session_timeout_ms></kafka>
  <database_atomic_delay_before_drop_table_sec>1</database_atomic_delay_before_drop_table_sec>
</clickhouse>
"""
