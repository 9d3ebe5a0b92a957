"""What `plan` finds and `apply` does, as data: a change is one thing that differs, with the steps that mend it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from schemas.avro import Record

Kind = Literal["topic", "subject", "database", "table"]
Action = Literal["create", "change", "breaking", "waiting"]
"""`breaking`: cannot be changed in place. `waiting`: could be, but rests on something that is breaking."""


@dataclass(frozen=True)
class CreateTopic:
    """Create a topic; nothing happens if it exists."""

    topic: str
    partitions: int
    replicas: int
    configs: Mapping[str, str]


@dataclass(frozen=True)
class SetTopicConfigs:
    """Set these configs of a topic and leave the others as they are."""

    topic: str
    configs: Mapping[str, str]


@dataclass(frozen=True)
class SetCompatibility:
    """Set a subject's own level of compatibility; the subject need not exist yet."""

    subject: str
    level: str


@dataclass(frozen=True)
class RegisterSchema:
    """Register a version of a contract; nothing happens if it is registered."""

    subject: str
    version: int
    record: Record


@dataclass(frozen=True)
class ForgetOffsets:
    """Delete a consumer group, so that its next reader begins at the start of the topic."""

    group: str


@dataclass(frozen=True)
class CreateDatabase:
    """Create ClickHouse's database, and use it from then on; nothing is created if it exists."""

    database: str


@dataclass(frozen=True)
class RunSql:
    """Run a statement in ClickHouse; each is one that may be run twice."""

    statement: str


Step = CreateTopic | SetTopicConfigs | SetCompatibility | RegisterSchema | ForgetOffsets | CreateDatabase | RunSql


@dataclass(frozen=True)
class Detail:
    """One difference: `what`, as it is and as it is declared; '' for what is not there."""

    what: str
    actual: str
    declared: str


@dataclass(frozen=True)
class Change:
    """One topic, subject or dataset's tables that differ.

    One that is breaking or waiting has no steps, and `advice` says what to do.
    """

    kind: Kind
    action: Action
    name: str
    details: tuple[Detail, ...]
    steps: tuple[Step, ...] = ()
    advice: str = ""

    @property
    def applicable(self) -> bool:
        """Whether `apply` can make it."""
        return self.action in ("create", "change")

    def behind(self, subject: str) -> "Change":
        """The same change, which waits for a subject that cannot be changed in place."""
        return replace(self, action="waiting", steps=(), advice=f"waits for subject {subject}, which is breaking")


def config_details(declared: Mapping[str, str], actual: Mapping[str, str], prefix: str = "") -> list[Detail]:
    """The differences between two mappings of settings, by name."""
    return [
        Detail(f"{prefix}{name}", actual.get(name, ""), declared.get(name, ""))
        for name in sorted(declared.keys() | actual.keys())
        if declared.get(name) != actual.get(name)
    ]
