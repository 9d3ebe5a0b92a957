"""The pages that are written by hand name files that exist, and the index of decisions names every decision."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent.parent
DOCS = REPOSITORY / "docs"
TOUR = DOCS / "tour.md"
DECISIONS = DOCS / "decisions"
SPARK_FILES_MAX = 5
"""From the bytes of a message to those of another, within stream_processing."""


def files_named(page: str) -> list[str]:
    """What stands in backquotes with a folder and a suffix."""
    return re.findall(r"`([\w./-]+/[\w.-]+\.\w+)`", page)


def test_every_file_that_the_tour_names_exists() -> None:
    named = files_named(TOUR.read_text())
    assert len(named) > 30
    assert [name for name in named if not (REPOSITORY / name).is_file()] == []


def test_the_tour_passes_every_part() -> None:
    named = files_named(TOUR.read_text())
    folders = {name.partition("/")[0] for name in named}
    assert folders == {"schemas", "producers", "stream_processing", "clickhouse", "ml", "grafana", "infra"}


def test_the_way_through_spark_is_short() -> None:
    """What the hour of a building is computed by is imported from no other file than the tour's five."""
    steps = re.findall(r"^\d\. .*(?:\n   .*)*", TOUR.read_text(), flags=re.MULTILINE)
    assert len(steps) == SPARK_FILES_MAX
    dataset, grain, *_ = reversed(steps)
    passed = {name for step in steps for name in files_named(step)}
    waiting = ["stream_processing/datasets/building_hourly_power_consumption.py"]
    imported: set[str] = set()
    while waiting:
        name = waiting.pop()
        imported.add(name)
        modules = re.findall(r"^from (stream_processing[\w.]*) import", (REPOSITORY / name).read_text(), re.MULTILINE)
        waiting += {f"{module.replace('.', '/')}.py" for module in modules} - imported
    assert imported <= passed
    assert len(imported) <= SPARK_FILES_MAX
    assert files_named(dataset)
    assert files_named(grain)


@pytest.mark.parametrize("page", [*DOCS.glob("*.md"), DECISIONS / "README.md", REPOSITORY / "README.md"])
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_index_names_every_decision_by_its_title() -> None:
    titles = {path.name: path.read_text().partition("\n")[0] for path in DECISIONS.glob("[0-9]*.md")}
    lines = [
        f"- [{number}]({name}): {title}"
        for name, (number, _, title) in sorted(
            (name, line.removeprefix("# ").partition(": ")) for name, line in titles.items()
        )
    ]
    index = [line for line in (DECISIONS / "README.md").read_text().splitlines() if line.startswith("- ")]
    assert index == lines, "docs/decisions/README.md must have these lines:\n" + "\n".join(lines)
    assert all(name.startswith(line.removeprefix("# ").partition(":")[0]) for name, line in titles.items())
