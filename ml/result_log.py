"""Predictions to Kafka: anomaly_prediction_results in Confluent framing, by an idempotent producer."""

from threading import Event

from confluent_kafka import KafkaError, Message

from infra.base import kafka_client
from infra.base.errors import SmartmeterError
from infra.base.settings import Settings
from ml.judge import Suspects
from ml.model import Model
from ml.windows import WINDOW_MS
from schemas.codec import Encoder
from schemas.manifest import load_deployed
from schemas.registry import Registry

DATASET = "anomaly_prediction_results"
POLL_S = 0.2
STOP_TIMEOUT_S = 10.0


class ResultLog:
    """Emits results. They are in the log once `flush` has returned. A broker that is down is waited for.

    Raises NotRegistered if `smartmeter apply` has not run.
    """

    def __init__(self, settings: Settings, stop: Event) -> None:
        self._dataset, self._stop = load_deployed(settings)[DATASET], stop
        registry = Registry(settings.schema_registry_url)
        self._encoder = Encoder(self._dataset.latest, registry.id_of(self._dataset.subject, self._dataset.latest))
        self._failure = ""
        self._unanswered = 0
        self._producer = kafka_client.producer(settings.kafka, {"linger.ms": 20})

    def emit(self, model: Model, suspects: Suspects) -> int:
        """Emit one result per window; return how many."""
        probability, kinds = model.judge(suspects.features)
        rows = suspects.rows
        for row, kind in enumerate(kinds):
            start = int(rows.number[row]) * WINDOW_MS
            values = {
                "meter_id": int(rows.meter_id[row]),
                "building_id": int(rows.building_id[row]),
                "window_start": start,
                "window_end": start + WINDOW_MS,
                "event_count": int(rows.event_count[row]),
                "probability": float(probability[row]),
                "prediction": bool(probability[row] >= model.threshold),
                "kind": kind,
                "threshold": model.threshold,
                "model_name": model.name,
                "model_version": model.version,
                "feature_partition": int(rows.partition[row]),
                "feature_offset": int(rows.offset[row]),
                "content_version": (int(rows.version_high[row]) << 62) + int(rows.version_low[row]) or None,
            }
            key = self._dataset.key.format(building_id=values["building_id"]).encode()
            self._produce(key, self._encoder.encode(values))
        return len(kinds)

    def flush(self) -> None:
        """Return when the broker has everything.

        Raises SmartmeterError if the broker rejected a result. Raises it also when told to stop and the broker does not
        answer in STOP_TIMEOUT_S: the next start then judges those windows again.
        """
        waited_s = 0.0
        while self._unanswered:
            self._producer.flush(POLL_S)
            waited_s = waited_s + POLL_S if self._stop.is_set() else 0.0
            if self._unanswered and waited_s > STOP_TIMEOUT_S:
                raise SmartmeterError(
                    f"stopped, and {self._unanswered} results are not acknowledged; started again, `smartmeter ml "
                    "predict` judges those windows anew"
                )
        if self._failure:
            raise SmartmeterError(f"Kafka refused a result: {self._failure}; mend that, and start again")

    def _produce(self, key: bytes, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(self._dataset.topic, value, key, on_delivery=self._delivered)
            except BufferError:  # the queue is full
                self._producer.poll(POLL_S)
                continue
            self._unanswered += 1
            self._producer.poll(0)
            return

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        self._unanswered -= 1
        if error is not None:
            self._failure = self._failure or f"key {(message.key() or b'').decode()}: {error.str()}"
