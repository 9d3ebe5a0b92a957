"""`smartmeter stream`"""

import click

from infra.commands._options import Where, where_options


@click.command()
@where_options
def command(where: Where) -> None:
    """Run the streaming application until it is stopped (Ctrl-C or SIGTERM).

    It reads the raw topic once and writes one topic per aggregate, and goes on from its checkpoints after a stop or a
    crash. Settings come from the environment, here with their defaults:

    \b
      STREAM_LATENESS_S=60                       how long a window waits for late readings
      STREAM_TRIGGER_S=5                         time between batches
      STREAM_MAX_MESSAGES_PER_TRIGGER=1000000    messages in a batch, at most
      STREAM_MAX_UNREADABLE_SHARE=0.05           of a batch; when more cannot be read, it ends
      STREAM_SHUFFLE_PARTITIONS=2                fixed by the first start; else as the deployment says
      STREAM_CHECKPOINTS=                        a folder or URL; else as the deployment says
      STREAM_CORES=2, STREAM_DRIVER_MEMORY=2g    what Spark may use

    \b
    Example:
      smartmeter stream
      STREAM_LATENESS_S=120 smartmeter stream
    """
    import logging

    from infra.base.events import configure
    from infra.stack.spark import spark_runtime
    from stream_processing.progress import PART
    from stream_processing.run import run_stream
    from stream_processing.settings import stream_settings

    configure(PART)
    settings = where.settings()
    log = logging.getLogger("stream_processing").info
    run_stream(settings, stream_settings(settings.deployment), spark_runtime(), log)
