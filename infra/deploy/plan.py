"""What is declared against what is, over topics, subjects and tables. Pure: the deployment is read elsewhere."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from clickhouse.ddl import Connection, Table
from infra.deploy.changes import Change
from infra.deploy.subjects import Subject, subject_change, undeclared_versions
from infra.deploy.tables import dead_letter_change, table_change, undeclared
from infra.deploy.topics import Topic, dead_letter_topics, declared_topics, topic_change
from schemas.manifest import Dataset


@dataclass(frozen=True)
class Actual:
    """A deployment as it was found: everything by name, and the schemas of declared subjects only."""

    topics: Mapping[str, Topic]
    subjects: Mapping[str, Subject]
    tables: Mapping[str, Table]


@dataclass(frozen=True)
class Plan:
    """Changes in the order in which they are applied, and what exists without being declared, which is left alone."""

    changes: tuple[Change, ...]
    unmanaged: tuple[str, ...]

    @property
    def breaking(self) -> tuple[Change, ...]:
        """Changes that cannot be made in place; while there is one, nothing is applied."""
        return tuple(change for change in self.changes if change.action == "breaking")

    @property
    def exit_code(self) -> int:
        """0 without differences, 1 when one is breaking, else 2."""
        return 1 if self.breaking else 2 if self.changes else 0


def make_plan(datasets: Mapping[str, Dataset], connection: Connection, actual: Actual) -> Plan:
    """Compare every dataset's declaration with what is there.

    Topics come first, then subjects, then tables: a table reads a topic with a subject's schemas.
    """
    topics = declared_topics(datasets.values())
    changes = [topic_change(topic, actual.topics.get(topic.name)) for topic in topics]
    unmanaged = [f"topic {name}" for name in sorted(actual.topics.keys() - {topic.name for topic in topics})]
    subjects = {dataset.subject for dataset in datasets.values()}
    unmanaged += [f"subject {name}" for name in sorted(actual.subjects.keys() - subjects)]
    for dataset in datasets.values():
        subject = actual.subjects.get(dataset.subject, Subject(dataset.subject, None, ()))
        changes.append(subject_change(dataset, subject))
        unmanaged += undeclared_versions(dataset, subject)
    changes += [table_change(dataset, connection, actual.tables) for dataset in datasets.values()]
    dead_letters = dead_letter_topics(datasets.values(), actual.topics)
    changes.append(dead_letter_change(dead_letters, connection, actual.tables))
    unmanaged += undeclared(datasets.values(), dead_letters, connection, actual.tables)
    return Plan(tuple(change for change in changes if change), tuple(unmanaged))


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan without its steps, ready for json.dumps."""
    changes = [{key: value for key, value in asdict(change).items() if key != "steps"} for change in plan.changes]
    return {"changes": changes, "unmanaged": list(plan.unmanaged), "exit_code": plan.exit_code}
