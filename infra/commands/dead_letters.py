"""`smartmeter dead-letters`"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from infra.commands._options import Where, where_options

if TYPE_CHECKING:
    from clickhouse.dead_letters.redrive import RedriveOutcome

LETTERS = """
SELECT topic, partition, offset, produced_at, reason, value_from, redriven_at
FROM dead_letters_latest
WHERE topic != '' AND ({topic:String} = '' OR topic = {topic:String})
ORDER BY produced_at DESC, topic, partition, offset
LIMIT {limit:UInt32}
"""
LETTER = """
SELECT hex(key), hex(message), headers.name, arrayMap(value -> hex(value), headers.value), produced_at, consumer,
    reason, value_from, letter_topic, letter_partition, letter_offset, redriven_at
FROM dead_letters_latest
WHERE topic = {topic:String} AND partition = {partition:Int32} AND offset = {offset:Int64}
"""
HEX_WIDTH = 16


@click.group()
def command() -> None:
    """Messages that could not be read: written to dead-letter topics, shown, and sent again.

    A dead letter is named by the position of its original: topic:partition:offset.
    """


@command.command()
@where_options
@click.option("--once", is_flag=True, help="End when every letter that is due now is written.")
@click.option("--max-share", type=click.FloatRange(0, 1), metavar="SHARE", help="Instead of DEAD_LETTER_MAX_SHARE.")
def run(where: Where, once: bool, max_share: float | None) -> None:
    """Write a dead letter for each message that ClickHouse's intake finds unreadable, until stopped.

    Exactly once, also when it is killed and started again. What is down is waited for. When more than
    DEAD_LETTER_MAX_SHARE (0.05) of the last DEAD_LETTER_WINDOW (10000) messages of a partition are unreadable (fewer
    than DEAD_LETTER_MINIMUM, 1000, count as so many), it writes none of their letters and exits 1: look first, then go
    on with --max-share 1.

    \b
    Example:
      smartmeter dead-letters run
      smartmeter dead-letters run --once --max-share 1
    """
    from clickhouse.dead_letters.run import PART, DeadLetterSettings, run_dead_letters
    from infra.base.events import configure
    from infra.base.signals import stopped_by_signals

    configure(PART)
    given = DeadLetterSettings() if max_share is None else DeadLetterSettings(max_share=max_share)
    with stopped_by_signals() as stop:
        settings = where.settings()
        total = run_dead_letters(settings, given.limit, stop, once)
    click.echo(f"{total} dead letters written")


@command.command("list")
@where_options
@click.option("--topic", default="", help="Only letters of this topic (the original's).")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="The newest so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_(where: Where, topic: str, limit: int, as_json: bool) -> None:
    """List dead letters, the newest first: name, time in the log, reason, when redriven.

    \b
    Example:
      smartmeter dead-letters list --topic smart-meter-data
      smartmeter dead-letters list --json | jq -r .letter
    """
    rows = _query(where, LETTERS, {"topic": topic, "limit": limit})
    for topic_, partition, offset, produced_at, reason, value_from, redriven_at in rows:
        name, at = f"{topic_}:{partition}:{offset}", f"{produced_at:%Y-%m-%dT%H:%M:%S}Z"
        again = f"{redriven_at:%Y-%m-%dT%H:%M:%S}Z" if redriven_at else None
        if as_json:
            letter = {"letter": name, "produced_at": at, "reason": reason, "value_from": value_from}
            click.echo(json.dumps({**letter, "redriven_at": again}, ensure_ascii=False))
        else:
            click.echo(f"{name}  {at}  {'redriven ' + again + '  ' if again else ''}{' '.join(reason.split())}")
    if not rows:
        click.echo("no dead letters", err=True)


@command.command()
@click.argument("letter")
@where_options
def show(letter: str, where: Where) -> None:
    """Show one dead letter whole: why it is here, key, headers and bytes.

    \b
    Example:
      smartmeter dead-letters show smart-meter-data:0:1234
    """
    from clickhouse.dead_letters.letter import parse_origin
    from infra.base.errors import SmartmeterError

    rows = _query(where, LETTER, parse_origin(letter)._asdict())
    if not rows:
        raise SmartmeterError(f"no dead letter is named {letter}; see `smartmeter dead-letters list`")
    key, message, names, values, at, consumer, reason, value_from, topic, partition, offset, redriven_at = rows[0]
    click.echo(f"letter     {letter}, in {topic} partition {partition} offset {offset}")
    click.echo(f"log's time {at:%Y-%m-%dT%H:%M:%S.%f}Z")
    click.echo(f"reason     {reason}")
    click.echo(f"consumer   {consumer}; bytes from {value_from}")
    click.echo(f"redriven   {redriven_at:%Y-%m-%dT%H:%M:%S}Z" if redriven_at else "redriven   no")
    click.echo(f"key        {bytes.fromhex(key)!r}")
    for name, value in zip(names, values, strict=True):
        click.echo(f"header     {name}: {bytes.fromhex(value)!r}")
    for line in hex_lines(bytes.fromhex(message)):
        click.echo(line)


@command.command()
@click.argument("letters", nargs=-1)
@where_options
@click.option("--topic", help="All letters of this topic (the original's) that were not redriven yet.")
@click.option("--again", is_flag=True, help="Also letters that were redriven before.")
def redrive(letters: tuple[str, ...], where: Where, topic: str | None, again: bool) -> None:
    """Send the originals of dead LETTERS to their topics again, with key, value and headers as they were.

    For after a mended contract or consumer. Each is sent once, together with a note in the dead-letter topic, in
    one transaction: interrupted anywhere, run it again. One that still cannot be read comes back as a new letter.
    A reading whose window is closed counts after `smartmeter repair`.

    \b
    Example:
      smartmeter dead-letters redrive smart-meter-data:0:1234
      smartmeter dead-letters redrive --topic smart-meter-data
    """
    from clickhouse.dead_letters.letter import parse_origin
    from clickhouse.dead_letters.redrive import Redrive
    from schemas.manifest import load_deployed

    if bool(letters) == bool(topic):
        raise click.UsageError("say which: LETTERS by name, or --topic")
    settings = where.settings()
    redriving = Redrive(load_deployed(settings), settings.kafka, settings.deployment.prefix)
    wanted = {parse_origin(name) for name in letters} or None
    total = 0
    for outcome in redriving.run(wanted, topic, again):
        click.echo(_sentence(outcome))
        total += outcome.sent
    click.echo(f"{total} messages sent again")


def _sentence(outcome: "RedriveOutcome") -> str:
    return f"{outcome.name}: {'sent again' if outcome.sent else 'left alone: ' + outcome.why}"


def hex_lines(value: bytes) -> list[str]:
    """Bytes as in a hex dump: offset, hex, text."""
    lines = []
    for first in range(0, len(value), HEX_WIDTH):
        row = value[first : first + HEX_WIDTH]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{first:08x}  {row.hex(' '):<{3 * HEX_WIDTH}} {text}")
    return lines


def _query(where: Where, sql: str, parameters: dict[str, Any]) -> Sequence[Sequence[Any]]:
    from infra.base.clickhouse_client import connect

    rows: Sequence[Sequence[Any]] = connect(where.settings(), reader=True).query(sql, parameters=parameters).result_rows
    return rows
