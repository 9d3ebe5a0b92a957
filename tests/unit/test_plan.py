"""The comparison of declared and actual over topics, subjects and tables, without any of the three."""

import io
import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from rich.console import Console

from clickhouse import ddl
from clickhouse.ddl import EXAMPLE, Column, Table
from clickhouse.dead_letters.tables import dead_letter_tables
from clickhouse.tables import normalised
from infra.base.kafka_connection import KafkaConnection
from infra.deploy.changes import (
    Change,
    CreateDatabase,
    CreateTopic,
    ForgetOffsets,
    RegisterSchema,
    RunSql,
    SetCompatibility,
    SetTopicConfigs,
)
from infra.deploy.plan import Actual, Plan, as_json, make_plan
from infra.deploy.plan_table import print_plan
from infra.deploy.subjects import Subject
from infra.deploy.tables import table_change
from infra.deploy.topics import Topic, declared_topics
from schemas.avro import parse_record
from schemas.manifest import Dataset, deployed, load_datasets

DATASETS = deployed(load_datasets(), EXAMPLE.deployment)
RAW = DATASETS["raw_data"]
ONLY_RAW = {"raw_data": RAW}
EMPTY = Actual({}, {}, {})


def as_declared(datasets: Mapping[str, Dataset] = ONLY_RAW) -> Actual:
    """A deployment in which everything is as declared."""
    return Actual(
        {topic.name: topic for topic in declared_topics(datasets.values(), EXAMPLE.deployment.kafka)},
        {
            d.subject: Subject(d.subject, d.compatibility, tuple(r.schema for r in d.versions.values()))
            for d in datasets.values()
        },
        {table.name: normalised(table) for table in declared_tables(datasets)},
    )


def declared_tables(datasets: Mapping[str, Dataset]) -> list[Table]:
    of_datasets = [table for dataset in datasets.values() for table in ddl.tables(dataset, EXAMPLE)]
    return [*of_datasets, *dead_letter_tables([d.dead_letter_topic for d in datasets.values()], EXAMPLE)]


def with_table(**changes: object) -> Actual:
    """As declared but for these parts of table raw_data."""
    actual = as_declared()
    table = replace(actual.tables["raw_data"], **changes)  # type: ignore[arg-type]
    return replace(actual, tables={**actual.tables, "raw_data": table})


def with_column(name: str, **changes: str) -> Actual:
    columns = as_declared().tables["raw_data"].columns
    return with_table(columns=tuple(replace(c, **changes) if c.name == name else c for c in columns))


def without_column(name: str) -> Actual:
    columns = as_declared().tables["raw_data"].columns
    return with_table(columns=tuple(c for c in columns if c.name != name))


def without_tables(*names: str) -> Actual:
    actual = as_declared()
    return replace(actual, tables={name: table for name, table in actual.tables.items() if name not in names})


def with_topic(topic: Topic) -> Actual:
    actual = as_declared()
    return replace(actual, topics={**actual.topics, topic.name: topic})


def with_subject(compatibility: str | None, schemas: tuple[str, ...]) -> Actual:
    actual = as_declared()
    return replace(actual, subjects={RAW.subject: Subject(RAW.subject, compatibility, schemas)})


def plan_of(actual: Actual) -> Plan:
    return make_plan(ONLY_RAW, EXAMPLE, actual)


def only_change(actual: Actual) -> Change:
    (change,) = plan_of(actual).changes
    return change


def statements(change: Change) -> list[str]:
    return [step.statement for step in change.steps if isinstance(step, RunSql)]


def test_no_differences() -> None:
    plan = make_plan(DATASETS, EXAMPLE, as_declared(DATASETS))
    assert plan == Plan((), ())
    assert plan.exit_code == 0


def test_an_empty_deployment_gets_topics_then_subjects_then_tables() -> None:
    plan = make_plan(DATASETS, EXAMPLE, EMPTY)
    assert plan.exit_code == 2
    assert {change.action for change in plan.changes} == {"create"}
    kinds = [change.kind for change in plan.changes]
    count = len(DATASETS)  # and one table more, for the dead letters of all
    assert kinds == ["topic"] * 2 * count + ["subject"] * count + ["table"] * (count + 1)


def test_topics_are_created_with_their_configs() -> None:
    steps = {
        step.topic: step for change in plan_of(EMPTY).changes for step in change.steps if isinstance(step, CreateTopic)
    }
    raw, dead = steps["smart-meter-data"], steps["smart-meter-data-dead-letters"]
    assert (raw.partitions, dead.partitions) == (4, 1)
    assert raw.configs["retention.ms"] == "3024000000"  # 35 days
    assert raw.configs["message.timestamp.type"] == "LogAppendTime"
    assert dead.configs["message.timestamp.type"] == "CreateTime"
    assert dead.configs["retention.ms"] == "-1"


def test_versions_are_registered_in_order_after_the_compatibility() -> None:
    change = next(change for change in plan_of(EMPTY).changes if change.kind == "subject")
    assert change.steps == (
        SetCompatibility(RAW.subject, "FULL_TRANSITIVE"),
        RegisterSchema(RAW.subject, 1, RAW.versions[1]),
        RegisterSchema(RAW.subject, 2, RAW.versions[2]),
    )


def test_a_later_version_alone_is_registered() -> None:
    change = only_change(with_subject("FULL_TRANSITIVE", (RAW.versions[1].schema,)))
    assert (change.action, change.steps) == ("change", (RegisterSchema(RAW.subject, 2, RAW.versions[2]),))


def test_compatibility_alone_is_set() -> None:
    schemas = tuple(record.schema for record in RAW.versions.values())
    change = only_change(with_subject("NONE", schemas))
    assert change.steps == (SetCompatibility(RAW.subject, "FULL_TRANSITIVE"),)
    assert (change.details[0].actual, change.details[0].declared) == ("NONE", "FULL_TRANSITIVE")


def test_a_registered_version_that_says_something_else_is_breaking() -> None:
    other = RAW.versions[1].schema.replace('"unit": "kW"', '"unit": "W"')
    change = only_change(with_subject("FULL_TRANSITIVE", (other,)))
    assert (change.action, change.steps) == ("breaking", ())
    assert '"unit": "kW"' in change.details[0].declared
    assert "raw_data.v1.avsc" in change.advice


def test_documentation_alone_is_no_difference() -> None:
    undocumented = json.loads(RAW.versions[1].schema)
    for field in undocumented["fields"]:
        field["doc"] = "Otherwise."
    assert plan_of(with_subject("FULL_TRANSITIVE", (json.dumps(undocumented), RAW.versions[2].schema))).exit_code == 0


def test_an_incompatible_new_version_is_breaking_before_the_registry_is_asked() -> None:
    text = RAW.versions[2].schema.replace('"unit": "kW"', '"unit": "W"')
    versions = {**RAW.versions, 3: parse_record(text, "raw_data.v3.avsc")}
    plan = make_plan({"raw_data": replace(RAW, versions=versions)}, EXAMPLE, as_declared())
    subject = next(change for change in plan.changes if change.kind == "subject")
    assert subject.action == "breaking"
    assert "power_kw" in subject.advice
    assert plan.exit_code == 1


def test_newer_registered_versions_are_left_alone() -> None:
    schemas = tuple(record.schema for record in RAW.versions.values())
    plan = plan_of(with_subject("FULL_TRANSITIVE", (*schemas, schemas[-1])))
    assert plan == Plan((), ("subject smart-meter-data-value version 3",))


def test_a_topics_config_is_set_alone() -> None:
    topic = as_declared().topics["smart-meter-data"]
    change = only_change(with_topic(replace(topic, configs={**topic.configs, "retention.ms": "1", "segment.ms": "7"})))
    assert change.steps == (SetTopicConfigs("smart-meter-data", {"retention.ms": "3024000000"}),)


@pytest.mark.parametrize(("partitions", "why"), [(3, "order of its messages"), (5, "cannot take partitions away")])
def test_other_partitions_are_breaking_either_way(partitions: int, why: str) -> None:
    topic = as_declared().topics["smart-meter-data"]
    change = only_change(with_topic(replace(topic, partitions=partitions)))
    assert (change.action, change.steps) == ("breaking", ())
    assert why in change.advice


def test_configs_are_set_beside_partitions_that_cannot_change() -> None:
    topic = as_declared().topics["smart-meter-data"]
    narrow = replace(topic, partitions=3, configs={**topic.configs, "retention.ms": "1"})
    plan = plan_of(with_topic(narrow))
    assert [(change.name, change.action) for change in plan.changes] == [
        ("smart-meter-data", "change"),
        ("smart-meter-data", "breaking"),
    ]
    assert plan.applicable[0].steps == (SetTopicConfigs("smart-meter-data", {"retention.ms": "3024000000"}),)
    assert plan.exit_code == 1


def test_other_replicas_are_left_to_kafkas_tool() -> None:
    topic = as_declared().topics["smart-meter-data"]
    change = only_change(with_topic(replace(topic, replicas=3)))
    assert (change.action, change.steps) == ("breaking", ())
    assert "kafka-reassign-partitions" in change.advice


def test_tables_wait_for_a_subject_that_is_breaking_and_not_for_a_topic() -> None:
    """A table must not read with a schema that is not registered; with other partitions it can be read all the same."""
    other = RAW.versions[1].schema.replace('"unit": "kW"', '"unit": "W"')
    topics = as_declared(DATASETS).topics
    actual = Actual(
        {name: replace(topic, partitions=3) if topic.partitions == 4 else topic for name, topic in topics.items()},
        {RAW.subject: Subject(RAW.subject, "FULL_TRANSITIVE", (other,))},
        {},
    )
    plan = make_plan(DATASETS, EXAMPLE, actual)
    actions = {(change.kind, change.name): change.action for change in plan.changes}
    assert actions["topic", RAW.topic] == actions["subject", RAW.subject] == "breaking"
    assert actions["table", "raw_data"] == "waiting"
    assert actions["table", "meter_minute_trend"] == actions["table", "dead_letters"] == "create"
    (waiting,) = (change for change in plan.left if change.action == "waiting")
    assert (waiting.steps, waiting.advice) == ((), f"waits for subject {RAW.subject}, which is breaking")
    assert not {change.name for change in plan.applicable} & {RAW.topic, RAW.subject, "raw_data"}


def test_a_missing_database_comes_before_the_tables() -> None:
    plan = plan_of(replace(EMPTY, has_database=False))
    kinds = [change.kind for change in plan.changes]
    assert kinds.index("database") == kinds.index("table") - 1
    (database,) = (change for change in plan.changes if change.kind == "database")
    assert database.steps == (CreateDatabase("default"),)


def test_a_prefix_is_on_every_name_and_other_deployments_are_not_seen() -> None:
    blue = replace(EXAMPLE, deployment=EXAMPLE.deployment.model_copy(update={"prefix": "blue."}))
    datasets = deployed(load_datasets(), blue.deployment)
    gone = ("a-dead-letters", "blue.b-dead-letters", "green.c-dead-letters")
    actual = Actual({name: Topic(name, 1, 1, {}) for name in gone}, {"s": Subject("s", None, ())}, {})
    plan = make_plan(datasets, blue, actual)
    named = [change.name for change in plan.changes if change.kind in ("topic", "subject")]
    assert named
    assert all(name.startswith("blue.") for name in named)
    groups = {step.group for change in plan.changes for step in change.steps if isinstance(step, ForgetOffsets)}
    assert groups == {f"blue.clickhouse-{name}" for name in (*datasets, "dead_letters")}
    assert plan.unmanaged == ("topic blue.b-dead-letters",)
    queue = next(line for change in plan.changes for line in statements(change) if " dead_letters_queue" in line)
    assert "blue.b-dead-letters" in queue
    assert "blue.clickhouse-dead_letters" in queue
    assert "green" not in queue
    assert ",a-dead" not in queue


@pytest.mark.parametrize(
    ("actual", "what", "statement"),
    [
        (without_column("sequence"), "raw_data: column sequence", "ADD COLUMN IF NOT EXISTS sequence Nullable(Int64)"),
        (with_column("status", comment="?"), "raw_data: comment of column status", "COMMENT COLUMN status 'Injected"),
        (with_column("status", codec="LZ4"), "raw_data: codec of column status", "MODIFY COLUMN status CODEC(T64, ZS"),
        (with_table(ttl=""), "raw_data: TTL", "ALTER TABLE raw_data MODIFY TTL produced_at + toIntervalDay(35)"),
        (with_table(comment=""), "raw_data: comment", "ALTER TABLE raw_data MODIFY COMMENT 'Every reading"),
        (with_table(settings={"merge_max_block_size": "9"}), "raw_data: setting merge_max_block_size", "RESET SETTING"),
    ],
    ids=["column added", "comment", "codec", "TTL", "table comment", "setting"],
)
def test_what_can_change_in_place_is_altered(actual: Actual, what: str, statement: str) -> None:
    change = only_change(actual)
    assert change.action == "change"
    assert [detail.what for detail in change.details] == [what]
    assert statement in statements(change)[0]


def test_an_added_column_has_its_place() -> None:
    assert statements(only_change(without_column("sequence")))[0].endswith("AFTER status")


@pytest.mark.parametrize(
    ("actual", "what"),
    [
        (with_table(order_by="meter_id"), "raw_data: order by"),
        (with_table(engine="MergeTree"), "raw_data: engine"),
        (with_column("power_kw", type="Float32"), "raw_data: type of column power_kw"),
        (without_column("power_kw"), "raw_data: column power_kw"),
    ],
    ids=["order key", "engine", "type", "required column"],
)
def test_what_cannot_change_in_place_is_breaking(actual: Actual, what: str) -> None:
    change = only_change(actual)
    assert (change.action, change.steps) == ("breaking", ())
    assert what in [detail.what for detail in change.details]
    assert "drop table raw_data and apply" in change.advice
    assert plan_of(actual).exit_code == 1


@pytest.mark.parametrize("name", ["raw_data_queue", "raw_data_intake", "raw_data_messages", "raw_data_view"])
def test_what_reads_is_stopped_first_and_started_last(name: str) -> None:
    ran = statements(only_change(without_tables(name)))
    reading = ["raw_data_intake", "raw_data_queue", "raw_data_unreadable_view", "raw_data_view", "raw_data_messages"]
    assert [line for line in ran if line.startswith("DROP")] == [
        f"DROP TABLE IF EXISTS {there}" for there in reading if there != name
    ]
    created = [line.split(" EXISTS ")[1].split()[0] for line in ran if line.startswith("CREATE")]
    assert sorted(created) == sorted(reading)
    assert ran[-1].startswith("CREATE MATERIALIZED VIEW IF NOT EXISTS raw_data_intake")


def test_a_setting_of_the_queue_is_named() -> None:
    actual = as_declared()
    queue = actual.tables["raw_data_queue"]
    slow = replace(queue, settings={**queue.settings, "kafka_flush_interval_ms": "7500"})
    change = only_change(replace(actual, tables={**actual.tables, queue.name: slow}))
    (detail,) = change.details
    assert (detail.what, detail.actual, detail.declared) == (
        "raw_data_queue: setting kafka_flush_interval_ms",
        "7500",
        "500",
    )
    assert not any(isinstance(step, ForgetOffsets) for step in change.steps)


@pytest.mark.parametrize("name", ["raw_data", "raw_data_unreadable"])
def test_a_missing_table_of_rows_is_read_again_from_the_start(name: str) -> None:
    """Offsets go while nothing reads and before the table comes, so that no stop in between leaves it empty."""
    steps = only_change(without_tables(name)).steps
    forget = steps.index(ForgetOffsets("clickhouse-raw_data"))
    kinds = [step.statement.split()[0] for step in steps if isinstance(step, RunSql)]
    assert kinds[:forget] == ["DROP"] * 5
    assert set(kinds[forget:]) == {"CREATE"}


def test_the_merged_view_is_replaced_and_reading_goes_on() -> None:
    actual = as_declared()
    latest = replace(actual.tables["raw_data_latest"], query="SELECT meter_id FROM raw_data FINAL")
    change = only_change(replace(actual, tables={**actual.tables, latest.name: latest}))
    (statement,) = statements(change)
    assert statement.startswith("CREATE OR REPLACE VIEW raw_data_latest AS")


def test_an_index_is_added_in_place_and_another_ones_is_left_alone() -> None:
    trend = deployed(load_datasets(), EXAMPLE.deployment)["meter_minute_trend"]
    there = {table.name: normalised(table) for table in ddl.tables(trend, EXAMPLE)}
    stored = there[trend.name]

    def ran(indexes: Mapping[str, str]) -> list[str]:
        change = table_change(trend, EXAMPLE, {**there, stored.name: replace(stored, indexes=indexes)})
        return [] if change is None else statements(change)

    alter = "ALTER TABLE meter_minute_trend"
    add = f"{alter} ADD INDEX IF NOT EXISTS by_time {stored.indexes['by_time']}"
    assert ran({**stored.indexes, "mine": "topic TYPE set(9) GRANULARITY 1"}) == []
    assert ran({}) == [add]
    assert ran({"by_time": "window_start TYPE minmax GRANULARITY 8"}) == [f"{alter} DROP INDEX IF EXISTS by_time", add]


def test_what_is_not_declared_is_named_and_left_alone() -> None:
    actual = as_declared()
    stored = actual.tables["raw_data"]
    columns = (*stored.columns, Column("mine", "String"))
    tables = {**actual.tables, "raw_data": replace(stored, columns=columns), "notes": Table("notes")}
    plan = plan_of(
        Actual({**actual.topics, "t": Topic("t", 1, 1, {})}, {**actual.subjects, "s": Subject("s", None, ())}, tables)
    )
    assert plan == Plan((), ("topic t", "subject s", "table notes", "column raw_data.mine"))
    assert plan.exit_code == 0


class Secured(KafkaConnection):
    """A connection with a password."""

    def clickhouse(self) -> dict[str, str]:
        return {**super().clickhouse(), "kafka_sasl_password": "secret"}


def test_a_password_does_not_show_and_does_not_differ() -> None:
    connection = ddl.Connection(Secured(brokers="b:1"), "http://u:secret@r", EXAMPLE.deployment)
    queue = {table.name: normalised(table) for table in ddl.tables(RAW, connection)}["raw_data_queue"]
    assert "secret" not in " ".join(queue.settings.values())
    assert queue.settings["format_avro_schema_registry_url"] == "'http://u:[HIDDEN]@r'"


def test_people_see_marks_names_and_from_to() -> None:
    console = Console(width=200, no_color=True, record=True, file=io.StringIO())
    topic = as_declared().topics["smart-meter-data"]
    actual = with_topic(replace(topic, configs={**topic.configs, "retention.ms": "1"}))
    print_plan(plan_of(replace(actual, subjects={}, tables=with_table(order_by="meter_id").tables)), console)
    shown = console.export_text()
    assert "~ smart-meter-data\n" in shown
    assert "retention.ms: 1 → 3024000000" in shown
    assert "+ smart-meter-data-value" in shown
    assert "! raw_data\n" in shown
    assert "Plan: 1 to create, 1 to change, 1 breaking." in shown


def test_json_has_the_same_and_no_steps() -> None:
    told = json.loads(json.dumps(as_json(plan_of(EMPTY))))
    assert told["exit_code"] == 2
    assert [change["name"] for change in told["changes"]] == [change.name for change in plan_of(EMPTY).changes]
    assert "steps" not in told["changes"][0]
