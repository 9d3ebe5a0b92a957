"""The newest figures in Prometheus' format."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from infra.operations.metrics.figures import METRICS
from infra.operations.metrics.sources import Gathered


class Exposition(Collector):
    """Gauges `smartmeter_<metric>` with labels part and target, as of the last `show`.

    `smartmeter_source_up` is 0 for a source that could not be asked; its figures are then absent, not stale.
    """

    def __init__(self) -> None:
        self._shown = Gathered()

    def show(self, gathered: Gathered) -> None:
        """Put what was gathered in place of what was shown before; a scrape sees one or the other, whole."""
        self._shown = gathered

    def collect(self) -> Iterator[GaugeMetricFamily]:
        shown = self._shown
        up = GaugeMetricFamily("smartmeter_source_up", "Whether a source of figures answered.", labels=["source"])
        for source in shown.sources:
            up.add_metric([source], float(source not in shown.silent))
        yield up
        for metric, meaning in METRICS.items():
            family = GaugeMetricFamily(f"smartmeter_{metric}", meaning, labels=["part", "target"])
            for figure in shown.figures:
                if figure.metric == metric:
                    family.add_metric([figure.part, figure.target], figure.value)
            yield family
