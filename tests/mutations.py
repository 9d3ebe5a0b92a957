"""Proof that the tests can fail: each mutation of the source must make the tests named for it fail. By hand:

    python -m tests.mutations [AREA ...] [--list]

Works on a copy of the tree. Ends with 1 where a mutation lives, or where its text is no longer in the source once.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
GRAINS = "stream_processing/grains"


class Mutation(NamedTuple):
    file: str
    old: str
    new: str


class Area(NamedTuple):
    tests: str
    mutations: tuple[Mutation, ...]


def _in(file: str, *changes: tuple[str, str]) -> tuple[Mutation, ...]:
    return tuple(Mutation(file, old, new) for old, new in changes)


STATS_TESTS = "tests/spark/test_meter_stats_30s.py tests/spark/test_clock.py"
AREAS = {
    "rounding": Area(
        f"tests/unit/test_expected_sql.py tests/unit/test_roundings.py {STATS_TESTS}",
        _in(
            f"{GRAINS}/meter_30s.py",
            ('F.floor(F.col("power_kw") * 1e6 + 0.5)', 'F.round(F.col("power_kw") * 1e6)'),
            ('F.floor(F.col("power_kw") * 1e6 + 0.5)', 'F.floor(F.col("power_kw") * 1e6)'),
            ('F.floor(F.col("power_kw") * 1e6 + 0.5)', 'F.rint(F.col("power_kw") * 1e6)'),
            ('F.floor(F.col("power_kw") * 1e6 + 0.5)', 'F.ceil(F.col("power_kw") * 1e6 - 0.5)'),
            ('F.floor(F.col("voltage_v") * 1e3 + 0.5)', 'F.bround(F.col("voltage_v") * 1e3, 0)'),
            ('F.floor(F.col("voltage_v") * 1e3 + 0.5)', 'F.ceil(F.col("voltage_v") * 1e3 - 0.5)'),
            ('F.floor(F.col("voltage_v") * 1e3 + 0.5)', 'F.floor(F.col("voltage_v") / 1e-3 + 0.5)'),
        )
        + _in(
            "clickhouse/verify/expected/meter_stats_30s.sql",
            ("floor(power_kw * 1e6 + 0.5)", "round(power_kw * 1e6)"),
            ("floor(power_kw * 1e6 + 0.5)", "floor(power_kw * 1e6)"),
            ("floor(voltage_v * 1e3 + 0.5)", "ceil(voltage_v * 1e3 - 0.5)"),
        ),
    ),
    "windows": Area(
        f"{STATS_TESTS} tests/spark/test_longer_grains.py",
        _in(
            f"{GRAINS}/meter_30s.py",
            ('F.window("timestamp", f"{WINDOW_S} seconds")', 'F.window("timestamp", f"{2 * WINDOW_S} seconds")'),
            (
                'F.window("timestamp", f"{WINDOW_S} seconds")',
                'F.window("timestamp", f"{WINDOW_S} seconds", startTime="1 second")',
            ),
            ("ahead_ms <= tolerance_ms", "ahead_ms < tolerance_ms"),
            ("ahead_ms <= tolerance_ms", "ahead_ms <= tolerance_ms + 1"),
            (
                'following["timestamp_ms"] != item["timestamp_ms"]',
                'following["timestamp_ms"] > item["timestamp_ms"] + 1',
            ),
            ("F.expr(READING_TIME)", 'F.col("timestamp")'),
        )
        + _in(
            f"{GRAINS}/hours.py",
            ('item["window_start_ms"] >= F.col("start_ms")', 'item["window_start_ms"] > F.col("start_ms")'),
            ('INTERVAL {CONTEXT_S} SECONDS"', 'INTERVAL {2 * CONTEXT_S} SECONDS"'),
            ("HOUR_S + CONTEXT_S, HOUR_S,", "HOUR_S, HOUR_S,"),
            ('.where(F.size("hour") > 0)', '.where(F.size("hour") > 1)'),
        ),
    ),
    "order": Area(
        "tests/unit/test_order.py tests/unit/test_merge.py tests/unit/test_ddl.py",
        _in(
            "schemas/order.py",
            ("2**52, 2**40", "2**40, 2**52"),
            ("(count << 192)", "(count << 63)"),
            ("(version << 64) + offset", "(version << 64) - offset"),
            ("(version << 64) + offset", "offset"),
            ("+ partition * PARTITION_FACTOR + offset", "+ offset"),
            ("values.get(CONTENT_VERSION) or 0", "values.get(CONTENT_VERSION) and 0 or 0"),
        )
        + _in(
            "schemas/merge.py",
            ("version <= before[0]", "version < before[0]"),
            ("version <= before[0]", "version >= before[0]"),
            ("return before[1] != content", "return True"),
            ("oldest = min(self._best)", "oldest = max(self._best)"),
        ),
    ),
    "energy": Area(
        "tests/spark/test_longer_grains.py",
        _in(
            f"{GRAINS}/hours.py",
            ("HOLD_MAX_S = CONTEXT_S", "HOLD_MAX_S = CONTEXT_S - 1"),
            ("F.least(until_ms, so_far", "F.greatest(until_ms, so_far"),
            ('end_ms - F.greatest(so_far["last_timestamp_ms"], start_ms)', 'end_ms - so_far["last_timestamp_ms"]'),
            ("F.greatest(F.lit(0), end_ms - ", "F.abs(end_ms - "),
            ('within + so_far["last_power_mw"] * held_ms', 'within + item["last_power_mw"] * held_ms'),
            ('F.when(goes_on, item["first_timestamp_ms"]).otherwise(end_ms)', 'item["first_timestamp_ms"]'),
            ('F.when(goes_on, in_hour).otherwise(so_far["in_hour"] == 1)', "F.lit(True)"),
            ('F.when(in_hour, item["energy_mw_ms"]).otherwise(0)', 'item["energy_mw_ms"]'),
            ('so_far["covered_ms"] + within_ms + held_ms', 'so_far["covered_ms"] + within_ms'),
            ('in_hour & ~(goes_on & (so_far["in_hour"] == 1))', "in_hour & ~goes_on"),
        ),
    ),
    "in_contract": Area(
        "tests/unit/test_reader.py tests/unit/test_cases.py tests/unit/test_codec.py "
        "tests/spark/test_framing_in_spark.py",
        _in(
            "schemas/reader.py",
            ("not low <= value <= high", "not low < value <= high"),
            ("not low <= value <= high", "not low <= value < high"),
            ("not math.isfinite(value)", "math.isnan(value)"),
            (
                'values["timestamp"] > produced_at_ms + 1000 * tolerance_s',
                'values["timestamp"] >= produced_at_ms + 1000 * tolerance_s',
            ),
            (
                'values["timestamp"] > produced_at_ms + 1000 * tolerance_s',
                'values["timestamp"] > produced_at_ms + 1001 * tolerance_s',
            ),
        )
        + _in(
            "stream_processing/framing.py",
            ("value >= field.minimum", "value > field.minimum"),
            ("value <= field.maximum", "value < field.maximum"),
            ('F.col("body_length") == length', 'F.col("body_length") >= length'),
            ("step < 1 << 63", "step < 1 << 56"),
        )
        + _in("schemas/codec.py", ("if stream.tell() != len(body):", "if stream.tell() > len(body):")),
    ),
    "closings": Area(
        "tests/unit/test_closed.py tests/unit/test_pace.py tests/unit/test_late.py tests/unit/test_late_sql.py",
        _in(
            "infra/operations/closed.py",
            ("newest - timedelta(seconds=closing.lateness_s)", "newest"),
            ("EPOCH if newest is None else newest", "(newest or datetime.max)"),
            ("newest_reading(_start(source_closed_before, window))", "newest_reading(source_closed_before)"),
            ("else _start(newest, window)", "else newest"),
            ("min(closed[dataset], limit)", "limit"),
            ("of_source or report.watermark or EPOCH", "report.watermark or EPOCH"),
        )
        + _in(
            "stream_processing/pace.py",
            ('if grain.output_mode == "append" else', 'if grain.output_mode == "update" else'),
            ("Closing(grain.source, paces[name].lateness_s, window_s[grain.source])", "Closing(grain.source, 0, 0)"),
        )
        + _in(
            "clickhouse/late.py",
            ("HAVING late > 0", "HAVING late >= 0"),
            ("HAVING sum(counted) < sum(expected)", "HAVING sum(counted) != sum(expected)"),
        ),
    ),
}


def copy_of_the_tree(folder: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, tracked.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)


def judge(folder: Path, area: Area, mutation: Mutation) -> str:
    """killed, LIVES, or that the mutation's text is not there once."""
    path = folder / mutation.file
    source = path.read_text()
    if source.count(mutation.old) != 1:
        return f"STALE: the text stands there {source.count(mutation.old)} times"
    path.write_text(source.replace(mutation.old, mutation.new))
    try:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *area.tests.split()]
        done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    finally:
        path.write_text(source)
    if done.returncode not in (0, 1):
        return f"pytest ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return "killed" if done.returncode == 1 else "LIVES"


def chosen(areas: list[str]) -> Iterator[tuple[str, Area, Mutation]]:
    for name in areas or AREAS:
        for mutation in AREAS[name].mutations:
            yield name, AREAS[name], mutation


def main() -> None:
    """Print each mutation and what became of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("areas", nargs="*", choices=[[], *AREAS], help="All where none is named.")
    parser.add_argument("--list", action="store_true", help="Only print them.")
    given = parser.parse_args()
    alive = 0
    with tempfile.TemporaryDirectory() as name:
        copy_of_the_tree(Path(name))
        for area_name, area, mutation in chosen(given.areas):
            begun = time.monotonic()
            result = "" if given.list else judge(Path(name), area, mutation)
            alive += result not in ("", "killed")
            sys.stdout.write(
                f"{area_name}: {mutation.file}: {mutation.old!r} -> {mutation.new!r}: {result} "
                f"({time.monotonic() - begun:.0f} s)\n"
            )
            sys.stdout.flush()
    sys.exit(1 if alive else 0)


if __name__ == "__main__":
    main()
