"""`smartmeter dashboards`"""

from pathlib import Path

import click

from infra.commands._options import data_dir_option


@click.group()
def command() -> None:
    """Grafana's dashboards: render their files, or see them without Grafana."""


@command.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 where a committed file differs.")
def render(check: bool) -> None:
    """Render dashboards and alert rules from their Python to the files that Grafana loads.

    \b
    Example:
      smartmeter dashboards render
      smartmeter dashboards render --check
    """
    from grafana.render import stale, write
    from infra.base.errors import SmartmeterError

    if check:
        if differing := stale():
            raise SmartmeterError("\n".join(differing))
        click.echo("dashboards and alert rules are as their modules render them")
        return
    changed = write()
    click.echo(
        f"{len(changed)} files changed: {', '.join(path.name for path in changed)}" if changed else "as they were"
    )


@command.command()
@data_dir_option
@click.option("--port", type=click.IntRange(0, 65535), default=3000, show_default=True, help="0: any free one.")
@click.option("--refresh", "refresh_s", type=click.IntRange(min=0), default=10, show_default=True, help="Seconds.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write one HTML file with all data in it instead, and end.",
)
def preview(data_dir: Path, port: int, refresh_s: int, output: Path | None) -> None:
    """Show the four dashboards in a browser, without Grafana, from the same JSON and SQL.

    The page is served on this machine only and refreshes itself; variables and time are its controls. With --output it
    is written once, as one file that needs no server: what it shows is then fixed. Runs until stopped (Ctrl-C).

    \b
    Example:
      smartmeter dashboards preview
      smartmeter dashboards preview --output dashboards.html
    """
    from grafana.preview.run import serve, write
    from infra.base.settings import load_settings

    settings = load_settings(data_dir)
    if output is not None:
        write(settings, output)
        click.echo(f"wrote {output} ({output.stat().st_size / 2**20:.1f} MiB)")
        return
    serve(settings, port, refresh_s, lambda url: click.echo(f"dashboards: {url}", err=True))


@command.command()
@data_dir_option
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def screenshots(data_dir: Path, folder: Path) -> None:
    """Take a picture of each dashboard, FOLDER/<dashboard>.png, with this machine's Chromium.

    Needs Chromium (`apt-get install chromium`) and the package playwright.

    \b
    Example:
      smartmeter dashboards screenshots docs/images
    """
    from grafana.preview.run import take_pictures
    from infra.base.settings import load_settings

    for path in take_pictures(load_settings(data_dir), folder):
        click.echo(f"{path} ({path.stat().st_size / 1000:.0f} kB)")
