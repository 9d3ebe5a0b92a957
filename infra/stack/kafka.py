"""Apache Kafka as a part of the embedded stack: one process that is broker and KRaft controller."""

import base64
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException

from infra.base import kafka_client
from infra.base.errors import SmartmeterError
from infra.base.kafka_connection import KafkaConnection
from infra.base.loopback import HOST, accepts
from infra.stack.jars import KAFKA_VERSION, jars
from infra.stack.java import java_binary
from infra.stack.processes import Launch

ANY_TIMESTAMP_MS = 2**63 - 1
MINUTES_PER_YEAR = 365 * 24 * 60

LOGGING = """\
# Warnings and errors, and that the server started; everything else is noise in an embedded stack.
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
"""


@dataclass(frozen=True)
class KafkaServer:
    """The broker of a data directory; its data are in `<data-dir>/kafka`."""

    data_dir: Path
    port: int
    controller_port: int

    name = "kafka"
    version = KAFKA_VERSION

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def prepare(self) -> Launch:
        """Write the configuration and format the storage of a new broker."""
        storage = self.data_dir / "kafka"
        config = self.data_dir / "kafka-config"
        storage.mkdir(parents=True, exist_ok=True)
        config.mkdir(parents=True, exist_ok=True)
        (config / "server.properties").write_text(server_properties(storage, self.port, self.controller_port))
        (config / "log4j2.properties").write_text(LOGGING)
        java = [
            str(java_binary(17)),
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-XX:+ExitOnOutOfMemoryError",
            "-Djava.net.preferIPv4Stack=true",
            f"-Dlog4j2.configurationFile={config / 'log4j2.properties'}",
            "-cp",
            f"{jars('kafka')}/*",
        ]
        # Written last by the format, so its absence means a new broker or a format that did not finish.
        if not (storage / "meta.properties").exists():
            format_storage(java, config / "server.properties")
        return Launch([*java, "kafka.Kafka", str(config / "server.properties")])

    def ready(self) -> bool:
        """Whether the broker is registered and answers clients."""
        if not accepts(self.port):
            return False
        admin = kafka_client.admin(KafkaConnection(brokers=self.address), {"log_level": 0})
        try:
            return bool(admin.list_topics(timeout=5).brokers)
        except KafkaException:
            return False


def server_properties(storage: Path, port: int, controller_port: int) -> str:
    """Kafka's configuration file for one node that only this machine reaches.

    What is acknowledged survives the death of the process. Topics state their own retention; one that does not keeps
    everything, because a limit by age would delete readings whose own timestamps are old as soon as they arrive.
    """
    properties: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": storage,
        # A broker that was killed is let in again only when the session of its former self has run out.
        "broker.session.timeout.ms": 4000,
        "broker.heartbeat.interval.ms": 1000,
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": 0,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "offsets.retention.minutes": MINUTES_PER_YEAR,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "log.retention.ms": -1,
        "log.retention.bytes": -1,
        "log.message.timestamp.before.max.ms": ANY_TIMESTAMP_MS,
        "log.message.timestamp.after.max.ms": ANY_TIMESTAMP_MS,
        # The cleaner takes this from the heap when it starts; 128 MB is the default for machines with far larger heaps.
        "log.cleaner.dedupe.buffer.size": 32 * 1024 * 1024,
    }
    return "".join(f"{name}={escaped(str(value))}\n" for name, value in properties.items())


def escaped(value: str) -> str:
    """A value as a Java properties file spells it: backslashes doubled, what is not ASCII as \\uXXXX."""
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    codes = [int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2)]
    return "".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes)


def format_storage(java: list[str], config: Path) -> None:
    """Prepare an empty storage folder under a new cluster id; raises SmartmeterError with Kafka's own words."""
    # A leading "A" keeps the id from looking like an option.
    cluster_id = "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
    command = [*java, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SmartmeterError(f"Kafka's storage could not be formatted:\n{done.stdout}{done.stderr}".rstrip())
