"""The fence: what a reader's statement is made of, judged on the tree that the engine's own parser gives.

Everything in the tree must be on a list: kinds of nodes, functions, table functions, settings of every SETTINGS
clause, output formats. The lists are made from the engine's catalogue by `catalogue`. What is on no list, and what
the parser gives no whole tree of, is refused with error 497 and a sentence.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from clickhouse.front import catalogue
from clickhouse.front.catalogue import words
from clickhouse.front.errors import NOT_ENOUGH_PRIVILEGES, TOO_DEEP, QueryError
from clickhouse.front.statement import Statement

VERBS = frozenset({"SELECT", "WITH", "SHOW", "DESCRIBE", "EXPLAIN", "EXISTS"})
# Table functions that read nothing but their arguments and tables that the reader may read anyway. The engine checks
# grants for the others when they are read, but not when they are described. None that takes columns as a string:
# in `null('a String DEFAULT file(…)')` an expression stands where no tree shows it.
TABLE_FUNCTIONS = words("generateseries generate_series numbers numbers_mt primes view zeros zeros_mt")
MAX_FUNCTION_NAME = 200
"""The longest listed name with the longest combinators has fewer; names are taken apart, which costs their square."""

# Parts of the parser's own that its catalogue does not list.
_OWN_FUNCTIONS = frozenset({"lambda", "untuple", "exists", "grouping", "columns", "apply", "values", "row_number"})
_NODES = words(
    """
    Asterisk ColumnsApplyTransformer ColumnsExceptTransformer ColumnsListMatcher ColumnsRegexpMatcher
    ColumnsReplaceTransformer ColumnsReplaceTransformerReplacement ColumnsTransformerList DataType ExplainQuery
    ExpressionList Function Identifier InterpolateElement Literal NameTypePair OrderByElement QualifiedAsterisk
    QualifiedColumnsListMatcher QualifiedColumnsRegexpMatcher QueryParameter SampleRatio SelectIntersectExceptQuery
    SelectQuery SelectWithUnionQuery SetQuery ShowColumnsQuery ShowIndexesQuery ShowTablesQuery StorageOrderByElement
    Subquery TableExpression TableIdentifier TableJoin TablesInSelectQuery TablesInSelectQueryElement ArrayJoin
    WindowDefinition WindowListElement WithElement ObjectTypeArgument EnumDataType Asterisk
    """
)
# What Grafana's editor, JDBC's metadata, our panels, `status` and `verify` read. Nothing here shows a statement, an
# error's text, an address or a user's doings. The engine in process checks no right
# for them.
SYSTEM_TABLES = words(
    """
    aggregate_function_combinators collations columns contributors current_roles data_type_families database_engines
    databases data_skipping_indices dictionaries enabled_roles formats functions keywords licenses merges numbers
    numbers_mt one parts parts_columns projections projection_parts settings table_engines table_functions tables
    time_zones zeros zeros_mt
    """
)
_EXPLAINS = frozenset({"EXPLAIN", "EXPLAIN AST", "EXPLAIN SYNTAX", "EXPLAIN QUERY TREE", "EXPLAIN PIPELINE"}) | {
    "EXPLAIN ESTIMATE"
}
_EXPLAIN_SETTINGS = frozenset(
    {"actions", "compact", "description", "distributed", "dump_ast", "dump_passes", "dump_tree", "graph", "header"}
    | {"indexes", "json", "keep_logical_steps", "one_line", "oneline", "optimize", "passes", "pretty", "projections"}
    | {"query_tree_passes", "run_passes", "run_query_tree_passes", "sorting"}
)


def judge_settings(names: Iterable[str]) -> None:
    """Raise error 497 for a setting that is not on the list."""
    for name in names:
        if name.lower() not in _listed("settings.txt"):
            raise _refusal("use the setting", name)


def judge_format(name: str) -> None:
    """Raise error 497 for an output format that is not on the list."""
    if name.lower() not in _listed("formats.txt"):
        raise _refusal("use the format", name)


def judge_database(name: str | None) -> None:
    """Raise error 497 for the system's database as the one whose tables need no prefix."""
    if (name or "").lower() == "system":
        raise QueryError(NOT_ENOUGH_PRIVILEGES, "the reader names the system's tables as system.name")


def judge_verb(statement: Statement) -> None:
    """Raise error 497 for a statement that does not only read."""
    if statement.verb not in VERBS:
        raise QueryError(NOT_ENOUGH_PRIVILEGES, f"the reader may not run {statement.verb}: it can only read")


def judge(statement: Statement, tree: str | None) -> list[str]:
    """Raise error 497 for what is not on a list; return the names of tables that the statement reads.

    With `x IN name` among them, where the tree does not tell a table from a column, all names. What is only described
    (DESCRIBE, SHOW CREATE, EXISTS) is not read, but SHOW … WHERE x IN name reads.
    """
    judge_verb(statement)
    if statement.output_format is not None:
        judge_format(statement.output_format)
    if tree is None:
        if _PLAIN.match(statement.normalised):
            return []
        words = " ".join(statement.normalised.split()[:3])
        raise QueryError(
            NOT_ENOUGH_PRIVILEGES, f"the reader may not run this statement: {words} … is not understood here"
        )
    try:
        root = json.loads(tree)
    except RecursionError as error:
        raise QueryError(TOO_DEEP, "the statement is nested too deeply") from error
    tables: set[str] = set()
    columns: set[str] = set()
    columns_may_be_tables = False
    reads = statement.verb in {"SELECT", "WITH", "EXPLAIN"}
    for place, node in _nodes(root):
        reads = reads or node["type"] == "Subquery"
        _judge_node(place, node)
        if node["type"] in {"Identifier", "TableIdentifier"}:
            if node.get("children"):
                raise QueryError(
                    NOT_ENOUGH_PRIVILEGES, "the reader may not pass names of tables or columns as parameters"
                )
            parts = [str(part) for part in node.get("name_parts") or [node.get("name", "")]]
            _judge_name(parts)
            (tables if node["type"] == "TableIdentifier" else columns).add(parts[-1])
        elif node["type"] == "Function" and _IN.fullmatch(node["name"]):
            kinds = {argument["type"] for argument in _arguments(node)[1:]}
            columns_may_be_tables = columns_may_be_tables or not kinds <= {"Literal", "Subquery"}
    names = tables | columns if columns_may_be_tables else tables
    return sorted(names) if reads or columns_may_be_tables else []


_PLAIN = re.compile(r"(SHOW FUNCTIONS|SHOW CREATE DATABASE \w+|EXISTS DATABASE \w+)\s*(FORMAT \w+)?\s*\Z")


_IN = re.compile(r"(global)?(not)?(null)?in(ignoreset)?", re.IGNORECASE)
_TYPE_ARGUMENT = {"cast": 1, "_cast": 1, "accuratecast": 1, "accuratecastornull": 1, "accuratecastordefault": 1} | {
    "reinterpret": 1,
    "defaultvalueoftypename": 0,
    "jsonextract": -1,
    "jsonextractkeysandvalues": -1,
}
"""Functions that take the name of a type, and which argument it is."""
_STATE_OF = re.compile(r"AggregateFunction\s*\(\s*(?:\d+\s*,\s*)?(\w*)", re.IGNORECASE)


def _arguments(function: Mapping[str, Any]) -> list[Any]:
    return list((function.get("arguments") or {}).get("children") or ())


def _judge_types(node: Mapping[str, Any]) -> None:
    """Raise error 497 for a type of a state whose function is not on the list, and for a type that is computed."""
    value = node.get("value")
    literal = value.get("value") if isinstance(value, dict) else value
    for text in (literal, node.get("name"), node.get("param_type")):
        for name in _STATE_OF.findall(text) if isinstance(text, str) else ():
            if not is_allowed_function(name):
                raise _refusal("use the function", name)
    if node["type"] == "Function" and node["name"].lower() in _TYPE_ARGUMENT:
        arguments = _arguments(node)
        if arguments and _at(arguments, _TYPE_ARGUMENT[node["name"].lower()])["type"] not in {"Literal", "DataType"}:
            raise QueryError(NOT_ENOUGH_PRIVILEGES, f"the reader names the type in {node['name']} in plain letters")


def _at(arguments: Sequence[Any], place: int) -> Any:
    return arguments[place] if place < len(arguments) else arguments[-1]


def _judge_name(parts: Sequence[str]) -> None:
    for database, table in pairwise(parts):
        if database.lower() == "system" and table not in SYSTEM_TABLES:
            raise _refusal("read", f"system.{table}")


def _judge_node(place: str, node: Mapping[str, Any]) -> None:
    kind = node["type"]
    if kind not in _NODES:
        raise _refusal("use", kind)
    if node.get("out_file") is not None:
        raise _refusal("use", "INTO OUTFILE")
    if kind == "ShowTablesQuery" and {"cluster", "clusters", "caches"} & {name for name in node if node[name]}:
        raise QueryError(NOT_ENOUGH_PRIVILEGES, "the reader may not see clusters and caches")
    _judge_types(node)
    if kind == "Function" and place == "table_function":
        if node["name"].lower() not in TABLE_FUNCTIONS:
            raise _refusal("use the table function", node["name"])
    # No lambda is called by its name: in another scope, or in other letters, that is the engine's own function.
    elif kind == "Function" and not is_allowed_function(node["name"]):
        raise _refusal("use the function", node["name"])
    elif kind == "ColumnsApplyTransformer" and "func_name" in node and not is_allowed_function(node["func_name"]):
        raise _refusal("use the function", node["func_name"])
    elif kind == "SetQuery":
        _judge_set_query(place, node)
    elif kind == "ExplainQuery" and node.get("kind") not in _EXPLAINS:
        raise _refusal("run", str(node.get("kind")))


def _judge_set_query(place: str, node: Mapping[str, Any]) -> None:
    unknown = set(node) - {"type", "changes", "is_standalone", "default_settings"}
    if unknown:
        raise _refusal("use here", ", ".join(sorted(unknown)))
    changes = [str(change["name"]) for change in node.get("changes", ())]
    changes += [str(name) for name in node.get("default_settings", ())]
    if place == "ExplainQuery":
        for name in changes:
            if name.lower() not in _EXPLAIN_SETTINGS:
                raise _refusal("use in EXPLAIN the setting", name)
    else:
        judge_settings(changes)


def judge_columns(tree: str | None) -> None:
    """Raise error 497 unless a CREATE TABLE's tree holds columns of a name and a type and nothing else."""
    root = json.loads(tree) if tree else {}
    beside = {"select", "storage", "as_table_function", "as_table", "comment"} & set(root)
    plain = root.get("type") == "CreateQuery" and not beside
    plain = plain and set(root.get("columns_list", ())) == {"type", "columns"}
    for _, node in _nodes(root):
        if node["type"] == "ColumnDeclaration":
            plain = plain and set(node) <= {"type", "name", "data_type", "ephemeral_default", "primary_key_specifier"}
        elif node["type"] == "Function":
            plain = plain and is_allowed_function(node["name"])
    if not plain:
        raise QueryError(NOT_ENOUGH_PRIVILEGES, "columns of an external table have a name and a type, nothing else")


def is_allowed_function(name: str) -> bool:
    """Whether the reader may call it; aggregate functions also with combinators, as in sumIf or countMergeState."""
    name = name.lower()
    if len(name) > MAX_FUNCTION_NAME:
        return False
    if name in _listed("functions.txt") or name in _OWN_FUNCTIONS:
        return True
    seen, waiting = set(), [name]
    while waiting:
        base = waiting.pop()
        if base in _listed("aggregates.txt"):
            return True
        if base not in seen:
            seen.add(base)
            waiting += [base.removesuffix(end) for end in _listed("combinators.txt") if base.endswith(end)]
    return False


def _nodes(root: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node with where it stands: the key that holds it, or for settings of EXPLAIN the kind of its owner."""
    waiting: list[tuple[str, str, Any]] = [("", "", root)]
    while waiting:
        place, owner, value = waiting.pop()
        if isinstance(value, list):
            waiting += [(place, owner, item) for item in value]
        elif isinstance(value, dict):
            if isinstance(value.get("type"), str):
                yield (owner if place == "settings" else place), value
                owner = value["type"]
            waiting += [(key, owner, item) for key, item in value.items()]


@cache
def _listed(name: str) -> frozenset[str]:
    return catalogue.read(name)


def _refusal(what: str, name: str) -> QueryError:
    return QueryError(NOT_ENOUGH_PRIVILEGES, f"the reader may not {what} {name}: it is not on the list of what it may")
