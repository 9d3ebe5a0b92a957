from pathlib import Path

import pytest
from click.testing import CliRunner

from infra.base.errors import SmartmeterError
from infra.commands.schemas_ import command
from schemas.docs import INDEX, differences, render, write
from schemas.manifest import Dataset, load_datasets

DATASETS = load_datasets()
PAGES = render(DATASETS)


def test_the_committed_pages_are_those_that_the_contracts_give() -> None:
    assert differences(PAGES) == [], "run `smartmeter schemas docs`"


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda dataset: dataset.name)
def test_a_page_tells_all_of_the_contract(dataset: Dataset) -> None:
    page = PAGES[f"{dataset.name}.md"]
    for said in (dataset.description, dataset.owner, dataset.topic, dataset.key, dataset.dead_letter_topic):
        assert said in page
    for consumer in (dataset.producer, *dataset.consumers, *dataset.parameters):
        assert f"`{consumer}`" in page
    for field in dataset.latest.fields:
        (line,) = (line for line in page.splitlines() if line.startswith(f"| `{field.name}` |"))
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[1].startswith(field.type)
        assert cells[1].endswith("nullable") == field.nullable
        assert cells[2] == (field.unit or "")
        assert (f"{field.minimum}" in cells[3]) == (field.minimum is not None)
        assert cells[4].startswith(field.doc)
        assert ("**Label**" in cells[4]) == field.label
    assert f"[{dataset.name}]({dataset.name}.md)" in PAGES[INDEX]


def test_pages_are_written_and_stale_ones_removed(tmp_path: Path) -> None:
    write(PAGES, tmp_path)
    assert differences(PAGES, tmp_path) == []
    (tmp_path / INDEX).write_text("edited")
    (tmp_path / "gone.md").write_text("of a dataset that is no more")
    (tmp_path / "raw_data.md").unlink()
    assert differences(PAGES, tmp_path) == [INDEX, "gone.md", "raw_data.md"]
    write(PAGES, tmp_path)
    assert differences(PAGES, tmp_path) == []


def test_the_command_writes_the_pages_and_tells_when_they_differ(tmp_path: Path) -> None:
    runner, options, count = CliRunner(), ["docs", "--folder", str(tmp_path)], len(PAGES)
    missing = runner.invoke(command, [*options, "--check"])
    assert isinstance(missing.exception, SmartmeterError)
    assert "raw_data.md" in str(missing.exception)
    assert "run `smartmeter schemas docs`" in str(missing.exception)
    assert list(tmp_path.iterdir()) == []
    assert f"{count} of {count} pages changed" in runner.invoke(command, options).output
    assert f"0 of {count} pages changed" in runner.invoke(command, options).output
    assert f"{count} pages are up to date" in runner.invoke(command, [*options, "--check"]).output
