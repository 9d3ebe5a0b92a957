"""The bits of a reading's `status`: what a simulator injected, so that there is a truth to judge a model by."""

FAILURE, SPIKE, LOW_CONSUMPTION, VOLTAGE = 1, 2, 4, 8
STATUS_BITS = {
    "failure_count": FAILURE,
    "spike_count": SPIKE,
    "low_consumption_count": LOW_CONSUMPTION,
    "voltage_anomaly_count": VOLTAGE,
}
"""Field of an aggregate → the bit whose readings it counts."""
