"""From Python to the files that Grafana loads: dashboards beside their modules, the rest in provisioning."""

import importlib
import json
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana import alerts, datasource

FOLDER = Path(__file__).parent / "dashboards"
ORDER = ("meters", "buildings", "readings", "predictions", "pipeline")


def names(folder: Path = FOLDER) -> list[str]:
    """The dashboards: modules of the folder, the well-known ones first."""
    stems = {path.stem for path in folder.glob("[!_]*.py")}
    return [name for name in ORDER if name in stems] + sorted(stems - set(ORDER))


def render(name: str) -> str:
    """One dashboard as Grafana's JSON, with a line break at the end."""
    built = importlib.import_module(f"grafana.dashboards.{name}").build().build()
    for number, panel in enumerate(built.panels, start=1):
        panel.id_val = number
    ids = {panel.title: panel.id_val for panel in built.panels}
    for marks in built.annotations.list_val or []:
        marks.on(ids)
    return JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False).encode(built) + "\n"


def files(folder: Path = FOLDER) -> dict[Path, str]:
    """Every rendered file with its text."""
    dashboards = {folder / f"{name}.json": render(name) for name in names(folder)}
    return {**dashboards, alerts.FILE: alerts.render(), datasource.FILE: datasource.render()}


def stale(folder: Path = FOLDER) -> list[str]:
    """A sentence for each committed file that is not what its module renders, and for each without a module."""
    rendered = files(folder)
    committed = (*folder.glob("*.json"), alerts.FILE, datasource.FILE)
    found = {path: path.read_text(encoding="utf-8") for path in committed if path.exists()}
    differing = sorted(path.name for path in rendered | found if rendered.get(path) != found.get(path))
    return [f"{name} is not what its module renders; run `smartmeter dashboards render`" for name in differing]


def write(folder: Path = FOLDER) -> list[Path]:
    """Render everything, remove the JSON of dashboards that are gone, and return what changed."""
    rendered = files(folder)
    changed = [path for path in folder.glob("*.json") if path not in rendered]
    for path in changed:
        path.unlink()
    for path, text in rendered.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def load(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """The committed dashboards, in order."""
    return [json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in names(folder)]
