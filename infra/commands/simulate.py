"""`smartmeter simulate`"""

import click

from infra.commands._options import Instant, Where, where_options


@click.command()
@click.option("--backfill", type=click.FloatRange(0, 1e6, min_open=True), metavar="HOURS", help="Send the last hours.")
@click.option("--from", "from_ms", type=Instant(), help="Send from this time on (UTC unless it has an offset).")
@click.option("--to", "to_ms", type=Instant(), help="Up to before this time; now, if not given.")
@click.option("--live", is_flag=True, help="Then go on at the pace of the clock. The default without a period.")
@click.option("--for", "live_s", type=float, metavar="SECONDS", help="Stop living after that long.")
@click.option("--skip-missed", is_flag=True, help="Live after a stop: leave the hole instead of catching up.")
@click.option("--resume/--no-resume", default=True, show_default=True, help="Go on where the topic ends.")
@click.option("--buildings", type=int, envvar="NUM_BUILDINGS", default=10, show_default=True, show_envvar=True)
@click.option(
    "--meters-per-building", type=int, envvar="METERS_PER_BUILDING", default=10, show_default=True, show_envvar=True
)
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(0.001, 900),
    envvar="SLEEP_SECONDS",
    default=5.0,
    show_default=True,
    show_envvar=True,
    metavar="SECONDS",
    help="Time between two readings of a meter.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same readings.")
@click.option(
    "--anomalies",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    metavar="FACTOR",
    help="Injected anomalies, as a multiple of the default rates (2 % of windows of 5 minutes); 0: none.",
)
@click.option("--schema-version", type=int, default=2, show_default=True, help="Version of the contract to send.")
@click.option("--rate-limit", type=float, metavar="N", help="Send at most N readings per second.")
@click.option(
    "--chunk",
    "chunk_s",
    type=float,
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Event time under way at once: so far apart may partitions be.",
)
@where_options
def command(
    backfill: float | None,
    from_ms: int | None,
    to_ms: int | None,
    live: bool,
    live_s: float | None,
    skip_missed: bool,
    resume: bool,
    buildings: int,
    meters_per_building: int,
    interval_s: float,
    seed: int,
    anomalies: float,
    schema_version: int,
    rate_limit: float | None,
    chunk_s: float,
    where: Where,
) -> None:
    """Send the readings of simulated meters, of a past period, live, or both.

    The same options and seed give the same readings, whenever they are sent. After a stop, or a crash, the simulator
    goes on where the topic ends; a changed seed, interval or number of meters cannot be noticed there, so keep them, or
    use another topic (KAFKA_TOPIC). Hours of the daily profile are UTC. Ctrl-C stops in order; a second one at once.

    \b
    Example:
      smartmeter simulate --backfill 2 --live --for 60
      smartmeter simulate --from 2026-11-01 --to 2026-11-02 --buildings 50
      SLEEP_SECONDS=1 smartmeter simulate --live
    """
    from infra.base.signals import stopped_by_signals
    from infra.commands._options import from_options
    from infra.commands._producing import print_report, sink_settings
    from producers.progress import TerminalProgress
    from producers.run import simulate, wall_clock_ms
    from producers.settings import Anomalies, Period, Simulation, Throttle

    if backfill is not None and (from_ms is not None or to_ms is not None):
        raise click.UsageError("--backfill says the same as --from and --to; give one of them")
    if to_ms is not None and (live or from_ms is None):
        raise click.UsageError("--to needs --from, and ends before anything is live")
    if live_s is not None and not live and (from_ms is not None or backfill is not None):
        raise click.UsageError("--for says how long to live; it needs --live")
    if backfill is not None:
        from_ms = wall_clock_ms() - round(backfill * 3_600_000)
    period = from_options(
        Period,
        from_ms=from_ms,
        to_ms=to_ms,
        live=live or from_ms is None,
        live_s=live_s,
        skip_missed=skip_missed,
        resume=resume,
    )
    simulation = from_options(
        Simulation,
        buildings=buildings,
        meters_per_building=meters_per_building,
        interval_ms=round(interval_s * 1000),
        seed=seed,
        anomalies=from_options(Anomalies().scaled, factor=anomalies),
    )
    throttle = from_options(Throttle, chunk_s=chunk_s, rate_limit=rate_limit)
    settings = sink_settings(where, schema_version)
    with stopped_by_signals() as stop, TerminalProgress() as progress:
        report = simulate(simulation, settings, period, throttle, stop, progress)
    print_report(report, settings.topic)
