"""Who may do what: passwords, the engine's own access control for the reader, and a fence around its gaps.

The engine refuses CREATE USER, but it reads roles, grants and constraints from a file. So a reader's connection is
fresh, is switched to role `reader` (SELECT only) and constraint profile `reader`, and runs exactly one statement: the
engine enforces the rest. What its access control does not cover is refused by `check_reader`, on the text as the
engine's parser prints it.
"""

import hmac
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from xml.sax.saxutils import escape

from clickhouse.front.errors import AUTHENTICATION_FAILED, NOT_ENOUGH_PRIVILEGES, REQUIRED_PASSWORD, QueryError

# How long a partition stays with a front that was killed before its successor may read it; Kafka's default is 45 s.
KAFKA_SESSION_TIMEOUT_MS = 10_000
READER_MAX_EXECUTION_TIME_S = 60
READER_MAX_MEMORY_BYTES = 2_000_000_000
# Table functions that read nothing but their arguments or tables that the reader may read anyway. All others are
# refused: the engine checks grants when such a function is read, but not when it is described.
SAFE_TABLE_FUNCTIONS = frozenset(
    {"format", "generate_series", "generateRandom", "generateSeries", "null", "numbers", "numbers_mt", "timeSeriesData"}
    | {"primes", "values", "view", "zeros", "zeros_mt"}
)
READER_VERBS = frozenset({"SELECT", "WITH", "SHOW", "DESCRIBE", "EXPLAIN", "EXISTS"})
# Words that are refused outside quotes: functions that read files, tables with other users' statements, and a setting
# that makes a SELECT take messages from Kafka (the engine does not check constraints in a subquery's SETTINGS).
_REFUSED_WORDS = frozenset(
    {"outfile", "catboostevaluate", "processes", "processlist", "query_log", "user_query_log", "text_log"}
    | {"stack_trace", "stream_like_engine_allow_direct_select", "named_collections"}
)
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_CALL = re.compile(r"([A-Za-z_]\w*)[`\"]?\s*\(")
_WORD = re.compile(r"\w+")
_IDENTIFIER_PARAMETER = re.compile(r"\{\s*\w+\s*:\s*Identifier\s*\}")


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


def check_reader(verb: str, normalised: str, refused_functions: Collection[str]) -> None:
    """Refuse what the engine's grants let through.

    `normalised` is the engine's own print of the statement. Fails closed.
    """
    if verb not in READER_VERBS:
        raise QueryError(NOT_ENOUGH_PRIVILEGES, f"the reader may not run {verb}: it can only read")
    # Literals vanish; quoted names stay, as they may be functions and tables. One pass, so no quote hides in another
    # kind.
    bare = _QUOTED.sub(lambda match: "''" if match[0][0] == "'" else match[0].replace("'", ""), normalised)
    refused = {name.lower() for name in refused_functions}
    for name in _CALL.findall(bare):
        if name.lower() in refused:
            raise QueryError(NOT_ENOUGH_PRIVILEGES, f"the reader may not use the function {name}")
    if _IDENTIFIER_PARAMETER.search(bare):
        raise QueryError(NOT_ENOUGH_PRIVILEGES, "the reader may not pass names of tables or columns as parameters")
    for word in _WORD.findall(bare):
        if word.lower() in _REFUSED_WORDS:
            raise QueryError(NOT_ENOUGH_PRIVILEGES, f"the reader may not use the word {word} outside quotes")


def refused_functions(table_functions: Collection[str]) -> frozenset[str]:
    """Every table function of this engine that is not known to be harmless, and `file`, an ordinary function too."""
    return frozenset(table_functions) - SAFE_TABLE_FUNCTIONS | {"file"}


def preamble(role: Role, settings: Mapping[str, str], marker: str) -> str:
    """Statements that a fresh connection runs before the query.

    `marker` finds the query again when it must be killed.
    """
    wanted = {"implicit_select": "0"} | {
        name: value for name, value in settings.items() if role is Role.ADMIN or name not in {"readonly", "profile"}
    }
    comment = wanted.get("log_comment", "")
    wanted["log_comment"] = f"{comment} {marker}".strip()
    if role is Role.ADMIN:
        return _set(wanted)
    limits = {
        "max_execution_time": str(READER_MAX_EXECUTION_TIME_S),
        "max_memory_usage": str(READER_MAX_MEMORY_BYTES),
    }
    return "; ".join(["SET profile = 'reader'", _set(limits), _set(wanted), "SET ROLE reader", "SET readonly = 2"])


def _set(settings: Mapping[str, str]) -> str:
    return "SET " + ", ".join(f"{name} = {quote(value)}" for name, value in settings.items())


def quote(value: str) -> str:
    """A SQL string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


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
        <dialect><const/></dialect>
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
  <user_directories><users_xml><path>{escape(users_file)}</path></users_xml></user_directories>
  <background_message_broker_schedule_pool_size>{kafka_threads}</background_message_broker_schedule_pool_size>
  <kafka><session_timeout_ms>{KAFKA_SESSION_TIMEOUT_MS}</session_timeout_ms></kafka>
  <database_atomic_delay_before_drop_table_sec>1</database_atomic_delay_before_drop_table_sec>
</clickhouse>
"""
