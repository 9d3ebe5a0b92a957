"""`smartmeter subscribe`"""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from infra.commands._options import Where, where_options

if TYPE_CHECKING:
    from infra.base.topic_reader import Start
    from schemas.avro import Field, Record
    from schemas.subscription import Received, Unreadable

WIDTHS = {"int": 10, "long": 12, "double": 12, "boolean": 5, "string": 16, "timestamp-millis": 24, "decimal": 20}
POSITION_COLUMNS = "partition     offset"
EXAMPLE_TIME = "2026-01-05T18:00:00Z"


class StartType(click.ParamType[Any]):
    """`beginning`, `latest` or an instant in ISO 8601; UTC where it has no offset."""

    name = "start"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "Start":
        if value in ("beginning", "latest") or isinstance(value, datetime):
            start: Start = value
            return start
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not beginning, latest or a time such as {EXAMPLE_TIME}", param, ctx)
        return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


@click.command()
@click.argument("dataset")
@where_options
@click.option(
    "--from",
    "start",
    type=StartType(),
    default="latest",
    show_default=True,
    metavar="beginning|latest|TIME",
    help="Where to begin; TIME is the log's, ISO 8601, UTC unless it says otherwise.",
)
@click.option("--meter", type=int, metavar="N", help="Only this meter.")
@click.option("--building", type=int, metavar="N", help="Only this building.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="End after N records.")
@click.option("--until-end", is_flag=True, help="End where the topic ends now.")
@click.option(
    "--group", help="Consumer group, after the deployment's prefix: go on where it was, sharing the partitions."
)
@click.option(
    "--merge", is_flag=True, help="Leave out rows that a row with more or newer readings has replaced already."
)
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="At a message that cannot be read: exit 1, or tell on stderr and go on.",
)
def command(
    dataset: str,
    where: Where,
    start: "Start",
    meter: int | None,
    building: int | None,
    as_json: bool,
    limit: int | None,
    until_end: bool,
    group: str | None,
    merge: bool,
    on_error: str,
) -> None:
    """Print the records of DATASET as they come, until stopped (Ctrl-C), --limit or --until-end.

    Readings and every version of a contract are decoded to the newest version. What is printed stands in the topic for
    good: transactions that were not committed are not shown. A broker or registry that is down is waited for.

    \b
    Example:
      smartmeter subscribe anomaly_prediction_results --merge
      smartmeter subscribe raw_data --from 2026-01-05T18:00 --meter 7 --limit 10
      smartmeter subscribe meter_minute_trend --from beginning --until-end --json | jq .power_avg_kw
    """
    from infra.base.signals import stopped_by_signals
    from schemas.subscription import subscribe

    fields = {name: value for name, value in (("meter_id", meter), ("building_id", building)) if value is not None}
    with stopped_by_signals() as stop:
        subscription = subscribe(
            dataset,
            where.settings(),
            start=start,
            group=group,
            merge=merge,
            where=fields,
            until_end=until_end,
            stop=stop,
            on_unreadable=_tell if on_error == "skip" else None,
            on_wait=lambda sentence: click.echo(sentence, err=True),
        )
        with subscription:
            lines = _json_lines if as_json else _table_lines
            count = 0
            for line, is_record in lines(subscription):
                sys.stdout.write(line + "\n")
                if not subscription.buffered:
                    sys.stdout.flush()
                count += is_record
                if limit is not None and count == limit:
                    break
            if group is not None:
                sys.stdout.flush()
                subscription.commit()


def _tell(unreadable: "Unreadable") -> None:
    click.echo(f"{unreadable.position} cannot be read: {unreadable.reason}", err=True)


def _json_lines(records: "Iterator[Received]") -> Iterator[tuple[str, bool]]:
    for got in records:
        at = got.position
        where = {"topic": at.topic, "partition": at.partition, "offset": at.offset}
        values = {field.name: _plain(got.values[field.name], field) for field in got.contract.fields}
        yield json.dumps({**where, "produced_at": _instant(at.produced_at_ms), **values}, ensure_ascii=False), True


def _table_lines(records: "Iterator[Received]") -> Iterator[tuple[str, bool]]:
    heading = ""
    for got in records:
        if not heading:
            heading = _heading(got.contract)
            yield heading, False
        cells = [f"{got.position.partition:>9} {got.position.offset:>10}"]
        for field in got.contract.fields:
            value = _plain(got.values[field.name], field)
            cells.append(f"{'·' if value is None else value!s:>{_width(field)}}")
        yield " ".join(cells), True


def _heading(contract: "Record") -> str:
    return " ".join([POSITION_COLUMNS, *(f"{field.name:>{_width(field)}}" for field in contract.fields)])


def _width(field: "Field") -> int:
    return max(WIDTHS[field.type], len(field.name))


def _plain(value: Any, field: "Field") -> Any:
    """As JSON has it: instants as text; decimals with a fraction as text, so that no digit is lost."""
    if value is None or field.type not in ("timestamp-millis", "decimal"):
        return value
    if field.type == "timestamp-millis":
        return _instant(value)
    return value if field.scale == 0 else str(value)


def _instant(ms: int) -> str:
    from infra.base.clock import EPOCH

    return (EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
