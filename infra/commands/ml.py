"""`smartmeter ml`"""

import json
from pathlib import Path
from typing import Any

import click

from infra.commands._options import Where, where_options

CSV_OPTIONS = (
    click.option("--separator", default=";", show_default=True),
    click.option("--decimal", type=click.Choice([".", ","]), default=".", show_default=True),
    click.option("--date-column", default="Date", show_default=True),
    click.option("--date-format", default="%d/%m/%Y", show_default=True),
    click.option("--time-column", default="Time", show_default=True, help="'' if the date column holds the time too."),
    click.option("--time-format", default="%H:%M:%S", show_default=True),
    click.option("--timezone", default="UTC", show_default=True),
    click.option("--power-column", default="Global_active_power", show_default=True),
    click.option("--power-unit", type=click.Choice(["W", "kW", "MW"]), default="kW", show_default=True),
    click.option("--voltage-column", default="Voltage", show_default=True),
)
"""The form of a CSV file, as in `smartmeter import`."""


def csv_form(function: Any) -> Any:
    """Give a command the options of a CSV file's form."""
    for option in reversed(CSV_OPTIONS):
        function = option(function)
    return function


@click.group()
def command() -> None:
    """Predict anomalies: train a model, judge it beside simple rules, run it on the stream.

    \b
    Example:
      smartmeter ml train --simulate
      smartmeter ml predict &
      smartmeter ml evaluate
    """


@command.command()
@click.option("--simulate", "simulate_", is_flag=True, help="Learn from simulated history instead of the table.")
@click.option("--meters", default=40, show_default=True, help="With --simulate: simulated meters.")
@click.option("--days", default=4.0, show_default=True, help="With --simulate: days of history.")
@click.option("--max-windows", default=1_000_000, show_default=True, help="Of a larger table a part of the meters.")
@click.option("--trees", default=30, show_default=True)
@click.option("--depth", default=10, show_default=True)
@click.option("--seed", default=7, show_default=True, help="The same history and seed give the same model.")
@click.option("--json", "as_json", is_flag=True, help="Print the model's manifest as JSON.")
@where_options
def train(
    simulate_: bool,
    meters: int,
    days: float,
    max_windows: int,
    trees: int,
    depth: int,
    seed: int,
    as_json: bool,
    where: Where,
) -> None:
    """Train a new version of the model, and judge it on history that it did not see.

    It learns from the windows of anomaly_prediction_features in ClickHouse: from the first 60 % of their time and four
    of five meters; the threshold is chosen on the next 20 %, and the last 20 %, of all meters, judge it. With
    --simulate the history is simulated in memory, which needs no running stack. The version is kept below
    <data-dir>/models/spike_rf_model with a manifest of all that.

    \b
    Example:
      smartmeter ml train
      smartmeter ml train --simulate --meters 100 --days 10
    """
    from infra.base.console import progress_line, stdout_console
    from infra.commands._options import from_options
    from infra.stack.spark import spark_runtime
    from ml.data import simulated, split_table
    from ml.report import print_metrics
    from ml.spark_forest import ForestParameters
    from ml.table import read_table
    from ml.train import train_and_save

    parameters = from_options(ForestParameters, trees=trees, depth=depth, seed=seed)
    state_dir = where.state_dir()
    with progress_line() as line:
        if simulate_:
            line.step(f"simulating {meters} meters over {days:g} days")
            data = simulated(meters, days, seed)
        else:
            line.step("reading history from ClickHouse")
            data = split_table(*read_table(where.settings(), max_windows))
        version, trained = train_and_save(data, parameters, spark_runtime(), state_dir, line.step)
    if as_json:
        click.echo(json.dumps({"version": version, **trained.manifest}, indent=2))
        return
    print_metrics(trained.manifest["metrics"], stdout_console())
    click.echo(f"model {version} in {state_dir / 'models' / 'spike_rf_model' / version}")


@command.command()
@click.option("--version", "version", help="Version to judge; the newest, if not given.")
@click.option("--csv", "csv", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Real readings.")
@click.option(
    "--test-csv",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Judge on this file; without it, on the last days of the first one.",
)
@click.option("--inject", is_flag=True, help="Inject anomalies into the readings, by the simulator's rules.")
@click.option("--seeds", default=20, show_default=True, help="With --csv: injections that are judged, pooled.")
@click.option("--max-windows", default=1_000_000, show_default=True, help="Of a larger table a part of the meters.")
@click.option("--trees", default=40, show_default=True, help="With --csv.")
@click.option("--seed", default=7, show_default=True, help="With --csv.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Where the page with plots goes.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@csv_form
@where_options
def evaluate(
    version: str | None,
    csv: Path | None,
    test_csv: Path | None,
    inject: bool,
    seeds: int,
    max_windows: int,
    trees: int,
    seed: int,
    output: Path | None,
    as_json: bool,
    where: Where,
    time_column: str,
    separator: str,
    **form: Any,
) -> None:
    """Judge a model beside rules that need no learning, and write a page with plots.

    On the windows of anomaly_prediction_features in ClickHouse, by their labels; a model that learned from that table
    is judged on what is later than its training. With --csv a model is trained on a file's first days and judged on
    its last ones, with anomalies injected many times over, as real readings have no labels; it is not kept.

    \b
    Example:
      smartmeter ml evaluate
      smartmeter ml evaluate --json | jq .metrics.model.average_precision
      smartmeter ml evaluate --csv household_power_consumption.txt --inject
    """
    from infra.base.console import progress_line, stdout_console
    from infra.commands._options import from_options
    from infra.stack.spark import spark_runtime
    from ml.data import injected
    from ml.evaluate import newest, on_injected, on_table
    from ml.report import print_metrics, write_page
    from ml.spark_forest import ForestParameters
    from ml.table import read_table
    from producers.settings import CsvOptions

    if (csv is None) == inject or (test_csv and not csv):
        raise click.UsageError("--csv FILE and --inject go together, and --test-csv with them")
    if csv is not None:
        options = from_options(
            CsvOptions, separator=separator.replace("\\t", "\t"), time_column=time_column or None, **form
        )
        parameters = from_options(ForestParameters, trees=trees, seed=seed)
        with progress_line() as line:
            line.step(f"injecting anomalies into {csv}")
            samples = injected(csv, test_csv, options, seeds, seed)
            evaluation = on_injected(samples, parameters, spark_runtime(), line.step)
        importance = evaluation.figures["model"]["importance"]
    else:
        model = newest(where.state_dir(), version)
        evaluation = on_table(model, *read_table(where.settings(), max_windows))
        importance = model.manifest["importance"]
    page = output or where.state_dir() / "reports" / "ml-evaluate.html"
    write_page(evaluation, importance, page)
    if as_json:
        click.echo(json.dumps({**evaluation.figures, "page": str(page)}, indent=2))
        return
    print_metrics(evaluation.figures["metrics"], stdout_console())
    click.echo(f"plots: {page}")


@command.command()
@where_options
def predict(where: Where) -> None:
    """Predict anomalies on the stream until stopped (Ctrl-C or SIGTERM).

    It reads anomaly_prediction_features and emits one result per meter, window and model version to
    anomaly_prediction_results. Without a model it waits for one; a new version is picked up while it runs, and the two
    newest judge side by side. After a stop or a crash it goes on where it was, with the same results as if it had never
    stopped: <data-dir>/ml/predict.json says how far it is.

    \b
    Example:
      smartmeter ml predict
      smartmeter subscribe anomaly_prediction_results
    """
    from infra.base.events import configure
    from infra.base.signals import stopped_by_signals
    from ml.predict import PART, run_predict

    configure(PART)
    with stopped_by_signals() as stop:
        run_predict(where.settings(), stop)
