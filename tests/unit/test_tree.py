"""The tree keeps its own rules: names, files, packages, and who imports whom."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.manifest import CONTRACTS, Dataset, load_datasets, strays

REPOSITORY = Path(__file__).parent.parent.parent
PACKAGES = ("schemas", "producers", "stream_processing", "ml", "clickhouse", "grafana", "infra")
DATASETS = load_datasets()
SNAKE_CASE = r"[a-z][a-z0-9]*(_[a-z0-9]+)*"
UNITS = {"kw": "kW", "mw": "mW", "mw2": "mW2", "v": "V", "mv": "mV", "mv2": "mV2", "ms": "ms", "s": "s", "kwh": "kWh"}
COUNTED = {"meter_count": "meters"}  # everything else that ends in _count counts readings
SUFFIXLESS = {"energy_mw_ms": "mW.ms"}


def test_no_file_is_orphaned() -> None:
    assert strays(CONTRACTS) == []


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda dataset: dataset.name)
def test_a_dataset_is_complete(dataset: Dataset) -> None:
    assert re.fullmatch(SNAKE_CASE, dataset.name)
    assert list(dataset.versions) == list(range(1, len(dataset.versions) + 1))
    for number in dataset.versions:
        assert (CONTRACTS / f"{dataset.name}.v{number}.avsc").exists()
        assert (CONTRACTS / f"{dataset.name}.v{number}.json").exists()
    assert dataset.owner
    assert dataset.retention_days is None or dataset.retention_days > 0
    assert dataset.dead_letter_topic == f"{dataset.topic}-dead-letters"
    assert dataset.compatibility == "FULL_TRANSITIVE"
    assert dataset.topic == ("smart-meter-data" if dataset.name == "raw_data" else dataset.name)
    assert {dataset.producer, *dataset.consumers} <= set(PACKAGES)
    assert "clickhouse" in dataset.consumers


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda dataset: dataset.name)
def test_the_fields_are_documented_and_names_agree_with_units(dataset: Dataset) -> None:
    for record in dataset.versions.values():
        assert record.doc.endswith(".")
        for field in record.fields:
            assert field.doc.endswith("."), field.name
            suffix = field.name.rpartition("_")[2]
            if field.name in SUFFIXLESS:
                assert field.unit == SUFFIXLESS[field.name]
            elif suffix == "count":
                assert field.unit == COUNTED.get(field.name, "readings"), field.name
            elif suffix in UNITS:
                assert field.unit == UNITS[suffix], field.name
            elif field.type == "timestamp-millis":
                assert field.unit == "ms", field.name
            else:
                assert field.unit not in UNITS.values(), f"{field.name} is in {field.unit} and does not say so"


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda dataset: dataset.name)
def test_an_aggregate_has_a_window_and_the_count_by_which_rows_win(dataset: Dataset) -> None:
    names = [field.name for field in dataset.latest.fields]
    if dataset.name == "raw_data":
        assert dataset.version_by == "offset"
    else:
        assert {"window_start", "window_end", "event_count"} <= set(names)
        assert (dataset.version_by, "window_start" in dataset.order_by) == ("event_count", True)


def test_names_of_records_are_not_shared() -> None:
    names = [dataset.latest.name for dataset in DATASETS.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_the_one_in_this_repository(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__file__ == str(REPOSITORY / package / "__init__.py")


@pytest.mark.parametrize("package", [*PACKAGES, "tests"])
def test_every_folder_with_python_is_a_package(package: str) -> None:
    folders = {path.parent for path in (REPOSITORY / package).rglob("*.py")}
    assert folders
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


FLOORS = ("base", "domain", "below", "operations", "commands")
"""From the ground up; `below` is what operations stand on: infra.deploy and infra.stack."""


def floor(module: str) -> int:
    """The floor of a module by its dotted name; infra.cli is the roof."""
    package, _, rest = module.partition(".")
    if package != "infra":
        return FLOORS.index("domain")
    room = rest.partition(".")[0]
    return FLOORS.index({"deploy": "below", "stack": "below", "cli": "commands"}.get(room, room))


def imports(path: Path) -> Iterator[str]:
    """Modules of this repository that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: an import that is relative"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name for name in names if name.partition(".")[0] in PACKAGES)


SOURCES = sorted(path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_imports_go_down(path: Path) -> None:
    """base imports nothing of ours; the domain packages import base; deploy and stack the domain; then operations; then
    commands."""
    module = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    if module == "infra":
        return
    below = floor(module)
    climbing = [name for name in imports(path) if floor(name) > below]
    assert climbing == [], f"{module} is on floor {FLOORS[below]}"
    if FLOORS[below] == "base":
        assert [name for name in imports(path) if not name.startswith("infra.base")] == []


@pytest.mark.parametrize("module", ["infra.operations.status", "infra.operations.metrics.run", "producers.run"])
def test_what_only_looks_or_sends_loads_no_spark(module: str) -> None:
    """Spark's Python package costs a second of CPU and 60 MB in every process that imports it."""
    code = f"import sys, {module}; sys.exit('pyspark' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0
