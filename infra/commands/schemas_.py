"""`smartmeter schemas`: check the contracts, write their documentation."""

import sys
from pathlib import Path

import click
from rich.table import Table

from infra.base.console import stdout_console
from infra.base.errors import SmartmeterError
from schemas import check as rules
from schemas import docs as pages
from schemas.manifest import CONTRACTS, load_datasets
from schemas.released import NoHistory, bases, released_datasets


@click.group()
def command() -> None:
    """Check the contracts, and write their documentation.

    \b
    Example:
      smartmeter schemas check
      smartmeter schemas docs
    """


@command.command()
@click.option("--base", metavar="REF", help="Compare with this branch, tag or commit instead of main's last commit.")
@click.option(
    "--contracts", type=click.Path(exists=True, file_okay=False, path_type=Path), default=CONTRACTS, hidden=True
)
def check(base: str | None, contracts: Path) -> None:
    """Check manifests, Avro files, examples, every pair of versions, and what was released. Needs no service.

    Exits 1 with a sentence for each thing that breaks.

    \b
    Example:
      smartmeter schemas check
      smartmeter schemas check --base v1.0
    """
    datasets, unreadable = rules.load_all(contracts)
    findings = rules.Findings(tuple(unreadable)) + rules.check_declared(datasets, contracts)
    compared: list[str] = []
    try:
        for commit in bases(contracts, base):
            compared.append(f"{commit.label} ({commit.commit[:10]})")
            # A dataset that does not load is reported above, not as a removed one.
            released = released_datasets(commit, contracts)
            broken = {path.stem for path in contracts.glob("*.yaml")} - datasets.keys()
            known = {name: dataset for name, dataset in released.items() if name not in broken}
            findings += rules.check_released(datasets, known, commit.label)
    except NoHistory as reason:
        click.echo(f"not compared with what was released: {reason}", err=True)
    _report(datasets, findings, compared)
    if findings.breaking:
        sys.exit(1)


@command.command()
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit 1 when a page differs.")
@click.option("--folder", type=click.Path(path_type=Path), default=pages.FOLDER, hidden=True)
def docs(only_check: bool, folder: Path) -> None:
    """Write docs/contracts from the contracts: a page per dataset, and an index.

    \b
    Example:
      smartmeter schemas docs
      smartmeter schemas docs --check
    """
    wanted = pages.render(load_datasets())
    stale = pages.differences(wanted, folder)
    if only_check:
        if stale:
            raise SmartmeterError(f"{', '.join(stale)}: not as generated; run `smartmeter schemas docs`")
        click.echo(f"{len(wanted)} pages are up to date")
        return
    pages.write(wanted, folder)
    click.echo(f"{len(stale)} of {len(wanted)} pages changed: {', '.join(stale) or 'none'}")


def _report(datasets: rules.Datasets, findings: rules.Findings, compared: list[str]) -> None:
    table = Table("dataset", "versions", "fields", "owner")
    for dataset in datasets.values():
        versions = ", ".join(f"v{number}" for number in dataset.versions)
        table.add_row(dataset.name, versions, str(len(dataset.latest.fields)), dataset.owner)
    stdout_console().print(table)
    click.echo(f"compared with: {', '.join(compared) or 'nothing released'}")
    for note in dict.fromkeys(findings.notes):
        click.echo(f"note: {note}")
    breaking = list(dict.fromkeys(findings.breaking))
    for sentence in breaking:
        click.echo(f"breaks: {sentence}")
    verdict = f"{len(breaking)} things break" if breaking else "all hold"
    click.echo(f"{len(datasets)} datasets, {sum(len(d.versions) for d in datasets.values())} versions: {verdict}")
