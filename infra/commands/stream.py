"""`smartmeter stream`"""

from pathlib import Path

import click

from infra.commands._options import data_dir_option


@click.command()
@data_dir_option
def command(data_dir: Path) -> None:
    """Run the streaming application until it is stopped (Ctrl-C or SIGTERM).

    It reads the raw topic once and writes one topic per aggregate, and goes on from its checkpoints after a stop or a
    crash. Settings come from the environment, here with their defaults:

    \b
      STREAM_LATENESS_S=60                       how long a window waits for late readings
      STREAM_TRIGGER_S=5                         time between batches
      STREAM_MAX_MESSAGES_PER_TRIGGER=1000000    messages in a batch, at most
      STREAM_MAX_UNREADABLE_SHARE=0.05           of a batch; when more cannot be read, it ends
      STREAM_SHUFFLE_PARTITIONS=2                fixed by the first start
      STREAM_CORES=2, STREAM_DRIVER_MEMORY=2g    what Spark may use

    \b
    Example:
      smartmeter stream
      STREAM_LATENESS_S=120 smartmeter stream
    """
    import logging

    from infra.base.events import configure
    from infra.base.settings import load_settings
    from infra.stack.spark import spark_runtime
    from stream_processing.run import PART, run_stream
    from stream_processing.settings import StreamSettings

    configure(PART)
    run_stream(load_settings(data_dir), StreamSettings(), spark_runtime(), logging.getLogger("stream_processing").info)
