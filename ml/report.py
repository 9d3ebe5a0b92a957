"""An evaluation for people: a table for the terminal, and one self-contained page with plots."""

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from rich import box
from rich.console import Console
from rich.table import Table

from infra.base.columns import F64
from ml.baselines import SHOWN
from ml.evaluate import Evaluation
from ml.examples import Examples
from ml.metrics import curve
from ml.truth import KINDS

METERS_SHOWN = 3
FEATURES_SHOWN = 20
WINDOWS_SHOWN = 600
TITLES = ("score", "average precision", "with gaps", "unseen meters", "precision", "recall", "F1")
KEYS = ("average_precision", "average_precision_with_gaps", "average_precision_unseen_meters", "precision", "recall")


def print_metrics(metrics: dict[str, Any], console: Console) -> None:
    """The model beside the baselines, then the model by kind."""
    table = Table(box=box.SIMPLE_HEAD)
    for title in TITLES:
        table.add_column(title, justify="left" if title == "score" else "right")
    for name, figures in metrics.items():
        row = [_text(figures[key]) for key in (*KEYS, "f1")]
        table.add_row(name.replace("_", " "), *row, style="bold" if name == "model" else "")
    console.print(table)
    console.print(f"Kinds in the test, of {metrics['model']['windows']:,} windows without gaps:", highlight=False)
    kinds = Table(box=box.SIMPLE_HEAD)
    for title in ("kind", "windows", "recall", "average precision"):
        kinds.add_column(title, justify="left" if title == "kind" else "right")
    for kind, figures in metrics["model"]["by_kind"].items():
        row = [f"{figures['windows']:,}", _text(figures["recall"]), _text(figures["average_precision"])]
        kinds.add_row(kind.replace("_", " "), *row)
    console.print(kinds)
    for sentence in sentences(metrics):
        console.print(sentence, highlight=False, soft_wrap=True)


def sentences(metrics: dict[str, Any]) -> list[str]:
    """What the tables do not say."""
    model = metrics["model"]
    delay, lines = model["delay"], []
    lines.append(
        f"{model['prevalence']:.2%} of the windows hold an anomaly ({model['prevalence_with_gaps']:.2%} with those "
        "whose only fault is missing readings; these are left out of the headline, as counting readings finds them)."
    )
    if delay["mean_minutes"] is not None:
        lines.append(
            f"{delay['found']} of {delay['anomalies']} anomalies found, {delay['within_first_window']:.0%} of those in "
            f"their first window, on average {delay['mean_minutes']:.1f} minutes after it."
        )
    if "per_run" in model:
        runs = model["per_run"]
        lines.append(f"Over {runs['runs']} injections: {runs['lowest']:.2f} to {runs['highest']:.2f}; above: pooled.")
    return lines


def _text(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.3f}"


def write_page(evaluation: Evaluation, importance: dict[str, float], path: Path) -> None:
    """The page, self-contained: its script is in it."""
    figures = [
        _precision_recall(evaluation),
        _confusion(evaluation.figures["metrics"]["model"]["confusion"]),
        _importance(importance),
        _over_time(evaluation),
    ]
    plots = [
        figure.to_html(full_html=False, include_plotlyjs=number == 0, config={"displaylogo": False})
        for number, figure in enumerate(figures)
    ]
    metrics = evaluation.figures["metrics"]
    model = evaluation.figures["model"]
    head = f"{escape(model['name'])} {escape(model['version'] or '')}".strip()
    rows = "".join(
        f"<tr><td>{escape(name)}</td>{''.join(f'<td>{_text(found[key])}</td>' for key in (*KEYS, 'f1'))}</tr>"
        for name, found in metrics.items()
    )
    paragraphs = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences(metrics))
    titles = "".join(f"<th>{escape(title)}</th>" for title in TITLES)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{head}</title><style>body{{font-family:sans-serif;"
        "margin:2em auto;max-width:1100px}td,th{padding:.2em .8em;text-align:right}td:first-child,th:first-child"
        "{text-align:left}</style>"
        f"<h1>{head}</h1><table><tr>{titles}</tr>{rows}</table>{paragraphs}{''.join(plots)}</html>\n",
        encoding="utf-8",
    )


def _precision_recall(evaluation: Evaluation) -> go.Figure:
    test, judged = evaluation.test, evaluation.test.without_gaps
    figure = go.Figure(layout={"title": "Precision and recall, windows without gaps"})
    scores = {"model": evaluation.score}
    scores |= {name: baseline(evaluation.before, test) for name, baseline in SHOWN.items()}
    for name, score in scores.items():
        points = curve(test.positive[judged], score[judged])
        figure.add_scatter(
            x=points.recall, y=points.precision, name=name, mode="lines+markers" if name != "model" else "lines"
        )
    figure.update_xaxes(title="recall", range=[0, 1.02])
    figure.update_yaxes(title="precision", range=[0, 1.02])
    return figure


def _confusion(counts: dict[str, int]) -> go.Figure:
    cells = [
        [counts["true_negative"], counts["false_positive"]],
        [counts["false_negative"], counts["true_positive"]],
    ]
    colours = np.log10(np.array(cells) + 1)
    figure = go.Figure(layout={"title": "Confusion at the threshold", "height": 350})
    figure.add_heatmap(
        z=colours,
        x=["predicted ordinary", "predicted anomaly"],
        y=["ordinary", "anomaly"],
        text=cells,
        texttemplate="%{text:,}",
        colorscale="Blues",
        showscale=False,
    )
    return figure


def _importance(importance: dict[str, float]) -> go.Figure:
    shown = list(importance.items())[:FEATURES_SHOWN][::-1]
    figure = go.Figure(layout={"title": "Share in the drop of impurity", "height": 600})
    figure.add_bar(x=[share for _, share in shown], y=[name for name, _ in shown], orientation="h")
    figure.update_layout(margin={"l": 250})
    return figure


def _over_time(evaluation: Evaluation) -> go.Figure:
    """The score of the meters with the most anomalies in the first run."""
    test, score = evaluation.test, evaluation.score
    first_run = test.run == test.run.min()
    meters, counts = np.unique(test.meter_id[first_run & test.positive], return_counts=True)
    shown = meters[np.argsort(-counts, kind="stable")][:METERS_SHOWN].tolist()
    figure = make_subplots(rows=max(1, len(shown)), cols=1, subplot_titles=[f"meter {meter}" for meter in shown])
    for row, meter in enumerate(shown, start=1):
        _add_meter(
            figure, row, test.chosen(first_run & (test.meter_id == meter)), score[first_run & (test.meter_id == meter)]
        )
    figure.add_hline(y=evaluation.figures["threshold"], line_dash="dot")
    figure.update_layout(title="Score over time", height=250 * max(1, len(shown)), showlegend=False)
    return figure


def _add_meter(figure: go.Figure, row: int, windows: Examples, score: F64) -> None:
    last = slice(-WINDOWS_SHOWN, None)
    times, kinds = windows.window_start[last].astype("datetime64[ms]"), windows.kind[last]
    figure.add_scatter(x=times, y=score[last], mode="lines", line={"width": 1}, row=row, col=1)
    held = kinds > 0
    names = [KINDS[kind] for kind in kinds[held].tolist()]
    figure.add_scatter(x=times[held], y=score[last][held], mode="markers", text=names, row=row, col=1)
