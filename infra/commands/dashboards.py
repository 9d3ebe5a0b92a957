"""`smartmeter dashboards`"""

from pathlib import Path

import click

from infra.commands._options import Where, where_options


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
@where_options
@click.option("--port", type=click.IntRange(0, 65535), default=3000, show_default=True, help="0: any free one.")
@click.option("--refresh", "refresh_s", type=click.IntRange(min=0), default=10, show_default=True, help="Seconds.")
@click.option(
    "--timezone",
    "zone",
    default="UTC",
    show_default=True,
    help="Of the site, such as Europe/Paris: when its day begins.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write one HTML file with all data in it instead, and end.",
)
def preview(where: Where, port: int, refresh_s: int, zone: str, output: Path | None) -> None:
    """Show the dashboards in a browser, without Grafana, from the same JSON and SQL.

    The page is served on this machine only and refreshes itself; variables and time are its controls. With --output it
    is written once, as one file that needs no server: what it shows is then fixed. Runs until stopped (Ctrl-C).

    \b
    Example:
      smartmeter dashboards preview
      smartmeter dashboards preview --timezone Europe/Paris
      smartmeter dashboards preview --output dashboards.html
    """
    from grafana.preview.run import grafanas_name, serve, write

    zone = grafanas_name(zone)
    settings = where.settings()
    if output is not None:
        write(settings, output, zone)
        click.echo(f"wrote {output} ({output.stat().st_size / 2**20:.1f} MiB)")
        return
    serve(settings, port, refresh_s, zone, lambda url: click.echo(f"dashboards: {url}", err=True))


@command.command()
@where_options
@click.option("--theme", type=click.Choice(["light", "dark"]), default="light", show_default=True)
@click.option("--width", type=click.IntRange(min=320), default=1500, show_default=True, help="Pixels; a phone has 390.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def screenshots(where: Where, folder: Path, theme: str, width: int) -> None:
    """Take a picture of each dashboard, FOLDER/<dashboard>.png, with this machine's Chromium.

    Needs Chromium (`apt-get install chromium`) and the package playwright.

    \b
    Example:
      smartmeter dashboards screenshots docs/images
    """
    from grafana.preview.run import take_pictures

    for path in take_pictures(where.settings(), folder, theme, width):
        click.echo(f"{path} ({path.stat().st_size / 1000:.0f} kB)")
