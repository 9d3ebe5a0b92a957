"""What is declared against what is, over topics, subjects and tables. Pure: the deployment is read elsewhere."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from clickhouse.ddl import Connection, Table
from infra.deploy.changes import Change, CreateDatabase, Detail
from infra.deploy.subjects import Subject, subject_change, undeclared_versions
from infra.deploy.tables import dead_letter_change, table_change, undeclared
from infra.deploy.topics import Topic, dead_letter_topics, declared_topics, topic_changes
from schemas.manifest import Dataset


@dataclass(frozen=True)
class Actual:
    """The services as they were found: everything by name, and the schemas of declared subjects only."""

    topics: Mapping[str, Topic]
    subjects: Mapping[str, Subject]
    tables: Mapping[str, Table]
    has_database: bool = True


@dataclass(frozen=True)
class Plan:
    """Changes in the order in which they are applied, and what exists without being declared, which is left alone."""

    changes: tuple[Change, ...]
    unmanaged: tuple[str, ...]

    @property
    def breaking(self) -> tuple[Change, ...]:
        """Changes that cannot be made in place."""
        return tuple(change for change in self.changes if change.action == "breaking")

    @property
    def applicable(self) -> tuple[Change, ...]:
        """What `apply` does."""
        return tuple(change for change in self.changes if change.applicable)

    @property
    def left(self) -> tuple[Change, ...]:
        """What `apply` cannot do: what is breaking, and what waits for that."""
        return tuple(change for change in self.changes if not change.applicable)

    @property
    def exit_code(self) -> int:
        """0 without differences, 1 when one is breaking, else 2."""
        return 1 if self.breaking else 2 if self.changes else 0


def make_plan(datasets: Mapping[str, Dataset], connection: Connection, actual: Actual) -> Plan:
    """Compare every dataset's declaration with what is there.

    Topics come first, then subjects, then tables: a table reads a topic with a subject's schemas. So where a subject is
    breaking, its dataset's tables wait: they must not read with a schema that is not registered. A topic that is
    breaking can be read as it is, and nothing waits for it.
    """
    deployment = connection.deployment
    changes: list[Change] = []
    topics = declared_topics(datasets.values(), deployment.kafka)
    for topic in topics:
        changes += topic_changes(topic, actual.topics.get(topic.name))
    breaking = set()
    for dataset in datasets.values():
        if change := subject_change(dataset, _subject(dataset, actual)):
            changes.append(change)
            breaking |= {dataset.subject} if change.action == "breaking" else set()
    if not actual.has_database:
        changes.append(_new_database(deployment.clickhouse.database))
    for dataset in datasets.values():
        if change := table_change(dataset, connection, actual.tables):
            changes.append(change.behind(dataset.subject) if dataset.subject in breaking else change)
    dead_letters = dead_letter_topics(datasets.values(), deployment, actual.topics)
    if change := dead_letter_change(dead_letters, connection, actual.tables):
        changes.append(change)
    return Plan(tuple(changes), tuple(_unmanaged(datasets, dead_letters, connection, actual)))


def _subject(dataset: Dataset, actual: Actual) -> Subject:
    return actual.subjects.get(dataset.subject, Subject(dataset.subject, None, ()))


def _new_database(name: str) -> Change:
    return Change("database", "create", name, (Detail("database", "", "new"),), (CreateDatabase(name),))


def _unmanaged(
    datasets: Mapping[str, Dataset], dead_letters: Collection[str], connection: Connection, actual: Actual
) -> list[str]:
    """What exists under the deployment's prefix and in its database, and is not declared."""
    owns = connection.deployment.owns
    topics = {topic.name for topic in declared_topics(datasets.values(), connection.deployment.kafka)}
    subjects = {dataset.subject for dataset in datasets.values()}
    unmanaged = [f"topic {name}" for name in sorted(actual.topics.keys() - topics) if owns(name)]
    unmanaged += [f"subject {name}" for name in sorted(actual.subjects.keys() - subjects) if owns(name)]
    for dataset in datasets.values():
        unmanaged += undeclared_versions(dataset, _subject(dataset, actual))
    return unmanaged + undeclared(datasets.values(), dead_letters, connection, actual.tables)


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan without its steps, ready for json.dumps."""
    changes = [{key: value for key, value in asdict(change).items() if key != "steps"} for change in plan.changes]
    return {"changes": changes, "unmanaged": list(plan.unmanaged), "exit_code": plan.exit_code}
