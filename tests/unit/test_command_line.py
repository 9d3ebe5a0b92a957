"""Options of the producers' commands: what is refused names the option, before anything is connected."""

import signal
from pathlib import Path

import pytest
from click.testing import CliRunner

from infra.base.signals import stopped_by_signals
from infra.cli import cli
from infra.commands._producing import print_report
from producers.run import SendReport

CSV = "Date;Time;Global_active_power;Voltage\n"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--buildings", "0"], "--buildings: "),
        (["--meters-per-building", "1000000"], "--meters-per-building: "),
        (["--buildings", "100000", "--meters-per-building", "100000"], "do not fit the contract's 32-bit meter_id"),
        (["--interval", "0.0001"], "'--interval'"),
        (["--seed", "-1"], "--seed: "),
        (["--anomalies", "20"], "anomalies per meter and day; at most 24"),
        (["--live", "--for", "-1"], "--for: "),
        (["--chunk", "61"], "--chunk: "),
        (["--rate-limit", "0"], "--rate-limit: "),
        (["--from", "yesterday"], "'yesterday' is not a time such as"),
        (["--backfill", "1", "--from", "2026-11-01"], "--backfill says the same"),
        (["--to", "2026-11-01"], "--to needs --from"),
        (["--backfill", "1", "--for", "5"], "--for says how long to live"),
    ],
)
def test_simulate_names_the_option(options: list[str], named: str) -> None:
    refused("simulate", options, named)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--timezone", "Paris"], "--timezone: "),
        (["--separator", "ab"], "--separator: "),
        (["--meter-id", "-1"], "--meter-id: "),
        (["--power-unit", "GW"], "'--power-unit'"),
        (["--rate-limit", "-5"], "--rate-limit: "),
    ],
)
def test_import_names_the_option(options: list[str], named: str, tmp_path: Path) -> None:
    file = tmp_path / "readings.csv"
    file.write_text(CSV)
    refused("import", [str(file), *options], named)


def refused(command: str, options: list[str], named: str) -> None:
    done = CliRunner().invoke(cli, [command, *options])
    assert done.exit_code == 2, done.output
    assert named in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("command", ["simulate", "import"])
def test_help_has_an_example(command: str) -> None:
    done = CliRunner().invoke(cli, [command, "--help"])
    assert done.exit_code == 0
    assert f"  smartmeter {command} " in done.output


def test_the_first_signal_asks_and_the_second_is_the_former_handler() -> None:
    former: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: former.append(number))
    try:
        with stopped_by_signals() as stop:
            assert not stop.is_set()
            signal.raise_signal(signal.SIGTERM)
            assert stop.is_set()
            assert not former
            signal.raise_signal(signal.SIGTERM)
            assert former == [signal.SIGTERM]
        signal.raise_signal(signal.SIGTERM)
        assert former == [signal.SIGTERM] * 2
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_summary_says_what_was_sent_and_what_was_not(capsys: pytest.CaptureFixture[str]) -> None:
    report = SendReport(
        sent=12_000,
        acknowledged=12_000,
        already_there=34,
        missing=5,
        unreadable=6,
        first_ms=1_166_313_600_000,
        last_ms=1_166_317_200_000,
        resumed_after_ms=None,
        stopped=True,
        elapsed_s=2.0,
    )
    print_report(report, "smart-meter-data")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "smart-meter-data, stopped before the end" in lines
    for expected in (
        "readings sent 12,000",
        "acknowledged 12,000",
        "there already 34",
        "missing in the source 5",
        "unreadable lines 6",
        "first 2006-12-17T00:00:00Z",
        "last 2006-12-17T01:00:00Z",
        "readings/s 6,000",
    ):
        assert expected in lines
