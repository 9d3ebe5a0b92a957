"""What a reader of a topic gives out, counts as done and commits, with a consumer that is scripted.

Against a real broker: tests/integration/test_subscription.py.
"""

from collections import deque
from dataclasses import dataclass, field
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from infra.base import kafka_client
from infra.base.errors import SmartmeterError
from infra.base.kafka_connection import KafkaConnection
from infra.base.topic_reader import TopicReader, position_of

NOBODY = KafkaConnection(brokers="127.0.0.1:1")
TOPIC = "t"


@dataclass(frozen=True)
class Message:
    """A message, or an event where `code` is given."""

    at: int
    code: int | None = None
    in_partition: int = 0

    def topic(self) -> str:
        return TOPIC

    def partition(self) -> int:
        return self.in_partition

    def offset(self) -> int:
        return self.at

    def timestamp(self) -> tuple[int, int]:
        return 1, 1000 + self.at

    def error(self) -> KafkaError | None:
        return None if self.code is None else KafkaError(self.code)


@dataclass
class Scripted:
    """A consumer of one partition, offsets 0 to 3, whose fetches are given; the last is given again and again."""

    fetches: deque[list[Message]]
    failures: list[int] = field(default_factory=list)
    assigned: list[TopicPartition] = field(default_factory=list)
    commits: list[dict[int, int]] = field(default_factory=list)
    closed: bool = False

    def list_topics(self, _: str | None = None, timeout: float = -1) -> Any:
        assert timeout > 0
        if self.failures:
            raise KafkaException(KafkaError(self.failures.pop(0)))
        return SimpleNamespace(topics={TOPIC: SimpleNamespace(partitions={0: None})})

    def get_watermark_offsets(self, _: TopicPartition, timeout: float) -> tuple[int, int]:
        assert timeout > 0
        return 0, 3

    def assign(self, where: list[TopicPartition]) -> None:
        self.assigned = where

    def subscribe(self, _: list[str], on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        del on_revoke, on_lost
        on_assign(self, [TopicPartition(TOPIC, 0)])

    def committed(self, where: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        assert timeout > 0
        return where

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> None:
        del asynchronous
        self.commits.append({at.partition: at.offset for at in offsets})

    def consume(self, _: int, timeout: float) -> list[Message]:
        assert timeout > 0
        return self.fetches.popleft() if len(self.fetches) > 1 else self.fetches[0]

    def close(self) -> None:
        self.closed = True


def reader(monkeypatch: pytest.MonkeyPatch, script: Scripted, **options: Any) -> TopicReader:
    monkeypatch.setattr(kafka_client, "consumer", lambda *_: script)
    return TopicReader(NOBODY, TOPIC, start="beginning", **options)


def three() -> Scripted:
    return Scripted(deque([[Message(0), Message(1)], [Message(2)], []]))


def test_messages_come_in_order_until_the_end_and_the_one_in_hand_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    script = three()
    messages = reader(monkeypatch, script, group="g", until_end=True)
    offsets = []
    while (message := messages.next()) is not None:
        offsets.append(position_of(message).offset)
    assert offsets == [0, 1, 2]
    messages.close()
    assert (script.commits, script.closed) == ([{0: 3}], True)


def test_what_the_caller_holds_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    script = three()
    messages = reader(monkeypatch, script, group="g")
    messages.next(), messages.next()
    messages.close()
    assert script.commits == [{0: 1}]


def test_what_is_given_back_is_not_done_and_commit_counts_what_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    script = three()
    messages = reader(monkeypatch, script, group="g")
    messages.next()
    messages.commit()
    messages.next()
    messages.give_back()
    messages.commit()
    assert script.commits == [{0: 1}]


def test_alone_nothing_is_committed_and_a_stop_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    script, stop = three(), Event()
    messages = reader(monkeypatch, script, stop=stop)
    assert messages.next() is not None
    assert [(at.partition, at.offset) for at in script.assigned] == [(0, 0)]
    stop.set()
    assert messages.next() is None
    messages.close()
    assert script.commits == []


def test_a_broker_that_is_down_is_waited_for_and_a_refusal_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.base.topic_reader.POLL_S", 0.001)
    script = three()
    script.failures = [KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN]
    assert reader(monkeypatch, script).next() is not None
    script.failures = [KafkaError.TOPIC_AUTHORIZATION_FAILED]
    with pytest.raises(SmartmeterError, match="opening t"):
        reader(monkeypatch, script).next()


@pytest.mark.parametrize(
    ("code", "sentence"),
    [(KafkaError._AUTO_OFFSET_RESET, "retention has removed it"), (KafkaError._AUTHENTICATION, "reading t")],
)
def test_what_waiting_cannot_help_is_raised(monkeypatch: pytest.MonkeyPatch, code: int, sentence: str) -> None:
    script = Scripted(deque([[Message(0, code)]]))
    with pytest.raises(SmartmeterError, match=sentence):
        reader(monkeypatch, script).next()
