"""A backfill as the world sends it: readings repeated, out of order, past the watermark, and bad messages between.

By hand, on a running system, at the scale that takes too long for every run of the tests:

    python -m tests.messy --data-dir DIR --days 3 --buildings 50 --meters-per-building 10
"""

import argparse
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from confluent_kafka import Producer

from infra.base.columns import length
from infra.base.settings import Settings, load_settings
from producers.events import encode
from producers.settings import Simulation
from producers.simulator import Simulator
from producers.sink import message_keys
from schemas.manifest import RAW, load_datasets
from schemas.registry import Registry

HOUR_MS = 3_600_000
BATCH = 10_000

Message = tuple[bytes, bytes | None]
"""Key and value."""


@dataclass(frozen=True)
class Mess:
    """Shares of all readings."""

    repeated: float = 0.01
    out_of_order: float = 0.01
    late: float = 0.001
    each_kind_of_bad: float = 0.0001
    late_after: int = 2_500_000
    """Messages between a late reading's place and itself; the stream closes windows after two of its batches."""
    seed: int = 1


@dataclass
class Sent:
    """What was sent: messages in all, and those among them that are no reading to be counted."""

    messages: int = 0
    readings: int = 0
    repeated: int = 0
    late: int = 0
    unreadable: int = 0
    empty: int = 0


def bad_messages(good: bytes, foreign_id: int) -> tuple[list[bytes], list[bytes | None]]:
    """One of each kind: what a consumer sets aside, and what has nothing in it."""
    head, body = good[:5], good[5:]
    # meter_id, building_id and timestamp are varints of unknown length; power follows as 8 bytes at the end less 8 + 3.
    unreadable = [
        b'{"meter_id": 1}',
        b"\x00\x3b\x9a\xca\x00" + body,
        b"\x00" + foreign_id.to_bytes(4, "big") + body,
        good[:9],
        good + b"\x00",
        head + b"\x01" + body[1:],  # meter -1
    ]
    return unreadable, [b"", None]


def blocks(simulation: Simulation, first_ms: int, end_ms: int, mess: Mess, ids: tuple[int, int], foreign_id: int,
           sent: Sent, held: deque[tuple[int, list[Message]]]) -> Iterator[list[Message]]:  # fmt: skip
    """Messages in the order of sending; both schema versions take turns.

    `held` are late readings, each with the number of messages that go before them; those left at the end are in it.
    """
    raw = load_datasets()[RAW]
    rng = np.random.default_rng(mess.seed)
    simulator = Simulator(simulation)
    ticks = simulator.tick_at(first_ms), simulator.tick_at(end_ms)
    for number, block in enumerate(simulator.blocks(*ticks)):
        columns, rows = block.columns, length(block.columns)
        if not rows:
            continue
        version = 1 + number % 2
        values: list[bytes | None] = list(encode(raw.versions[version], ids[version - 1], columns))
        keys = message_keys(raw.key, columns)
        late = rng.random(rows) < mess.late
        place = np.arange(rows, dtype=np.float64)
        moved = rng.random(rows) < mess.out_of_order
        place[moved] += rng.random(int(moved.sum())) * 6 * simulation.meters
        order = [int(i) for i in np.argsort(place, kind="stable") if not late[i]]
        again = rng.random(len(order)) < mess.repeated
        out: list[Message] = []
        for i, twice in zip(order, again.tolist(), strict=True):
            out.append((keys[i], values[i]))
            if twice:
                out.append((keys[i], values[i]))
        due = sent.messages + len(out) + mess.late_after
        held.append((due, [(keys[i], values[i]) for i in np.flatnonzero(late).tolist()]))
        while held[0][0] <= sent.messages:
            out += held.popleft()[1]
        sent.readings += rows
        sent.repeated += int(again.sum())
        sent.late += int(late.sum())
        for _ in range(rng.poisson(rows * mess.each_kind_of_bad)):
            where = int(rng.integers(len(out)))
            unreadable, empty = bad_messages(bytes(values[0] or b""), foreign_id)
            out[where:where] = [(keys[0], value) for value in [*unreadable, *empty]]
            sent.unreadable += len(unreadable)
            sent.empty += len(empty)
        sent.messages += len(out)
        yield out


def send(
    settings: Settings,
    simulation: Simulation,
    first_ms: int,
    end_ms: int,
    mess: Mess,
    settle: Callable[[], None] = lambda: None,
) -> Sent:
    """Send all of it; returns when Kafka has acknowledged every message.

    `settle` is called before the late readings that are left at the end, when everything else is acknowledged.
    """
    datasets, registry = load_datasets(raw_topic=settings.kafka_topic), Registry(settings.schema_registry_url)
    raw, trend = datasets[RAW], datasets["meter_minute_trend"]
    ids = registry.id_of(raw.subject, raw.versions[1]), registry.id_of(raw.subject, raw.versions[2])
    producer = Producer(
        {
            "bootstrap.servers": settings.kafka_brokers,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 500_000,
        }
    )
    sent, started, told = Sent(), time.monotonic(), 0.0
    held: deque[tuple[int, list[Message]]] = deque()
    foreign = registry.id_of(trend.subject, trend.latest)
    for messages in blocks(simulation, first_ms, end_ms, mess, ids, foreign, sent, held):
        _produce(producer, raw.topic, messages)
        if time.monotonic() - told > 10:
            told = time.monotonic()
            print(f"{sent.messages:,} messages, {sent.messages / (told - started):,.0f}/s", flush=True)
    assert producer.flush(300) == 0
    settle()
    rest = [message for _, messages in held for message in messages]
    _produce(producer, raw.topic, rest)
    sent.messages += len(rest)
    assert producer.flush(300) == 0
    return sent


def _produce(producer: Producer, topic: str, messages: Sequence[Message]) -> None:
    for first in range(0, len(messages), BATCH):
        batch = [{"key": key, "value": value} for key, value in messages[first : first + BATCH]]
        while len(producer) > 400_000:
            producer.poll(0.1)
        taken = producer.produce_batch(topic, batch)
        assert taken == len(batch), "the queue was waited for"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--days", type=float, default=3.0)
    parser.add_argument("--buildings", type=int, default=50)
    parser.add_argument("--meters-per-building", type=int, default=10)
    options = parser.parse_args()
    simulation = Simulation(buildings=options.buildings, meters_per_building=options.meters_per_building)
    end_ms = int(datetime.now(UTC).timestamp() * 1000)
    first_ms = end_ms - round(options.days * 24 * HOUR_MS)
    print(send(load_settings(options.data_dir), simulation, first_ms, end_ms, Mess()))


if __name__ == "__main__":
    main()
