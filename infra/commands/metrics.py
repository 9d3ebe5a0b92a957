"""`smartmeter metrics`"""

import click

from infra.commands._options import Where, where_options


@click.command()
@where_options
@click.option("--port", type=click.IntRange(0, 65535), default=9108, show_default=True, help="0: any free one.")
@click.option("--every", "every_s", type=click.FloatRange(min=0.1), default=5.0, show_default=True, help="Seconds.")
def command(where: Where, port: int, every_s: float) -> None:
    """Serve the pipeline's figures to Prometheus on one port, and write them to the log as dataset pipeline_metrics.

    Lag per topic and consumer, age of the newest row per table, unreadable messages by reason, Spark's batches and
    state, schema versions, memory. ClickHouse consumes them like every dataset, so they outlive a restart, and the
    dashboard Pipeline shows them. Runs until stopped (Ctrl-C or SIGTERM); parts that are down are told as such.

    The address is printed with a token; without it, in the URL or as a bearer token, nobody is answered. Prometheus
    reads the token from the file `token` of the data directory: authorization: {credentials_file: …/token}.

    \b
    Example:
      smartmeter metrics &
      curl --oauth2-bearer "$(cat .smartmeter/token)" http://127.0.0.1:9108/metrics
    """
    from infra.base.events import configure
    from infra.operations.metrics.run import PART, run_metrics

    configure(PART)
    run_metrics(where.settings(), port, every_s)
