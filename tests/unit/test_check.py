import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from infra.base.errors import SmartmeterError
from infra.commands.schemas_ import command
from schemas.avro import parse_record
from schemas.check import check_declared, check_released, load_all
from schemas.manifest import CONTRACTS, Dataset, load_datasets
from schemas.released import NoHistory, bases, released_datasets

DATASETS = load_datasets()
RAW, TREND = DATASETS["raw_data"], DATASETS["meter_minute_trend"]


def with_one(changed: Dataset) -> Mapping[str, Dataset]:
    return DATASETS | {changed.name: changed}


def test_what_is_declared_holds() -> None:
    assert check_declared(DATASETS).breaking == ()
    assert check_released(DATASETS, DATASETS, "main") == check_declared(DATASETS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"topic": "other"}, "topic was meter_minute_trend in main and is other now"),
        ({"dead_letter_topic": "other"}, "dead_letter_topic was meter_minute_trend-dead-letters in main"),
        ({"key": "meter_{meter_id}"}, "key was building_{building_id} in main"),
        ({"order_by": ("window_start", "meter_id")}, "order_by was meter_id, window_start in main"),
        ({"version_by": "offset"}, "version_by was event_count"),
        ({"compatibility": "NONE"}, "compatibility was FULL_TRANSITIVE"),
    ],
)
def test_what_is_fixed_once_released_may_not_change(change: dict[str, Any], said: str) -> None:
    findings = check_released(with_one(replace(TREND, **change)), DATASETS, "main")
    (sentence,) = findings.breaking
    assert sentence.startswith(f"meter_minute_trend.yaml: {said}")
    assert sentence.endswith("declare a new dataset.")
    assert findings.notes == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"retention_days": 50}, "retention_days was 100 in main and is 50 now: a replay reaches less far back"),
        ({"retention_days": None}, "is unlimited now: a replay reaches further back"),
        ({"ttl_days": 50}, "ttl_days was 100 in main and is 50 now"),
        (
            {"parameters": {"limit_v": 2.5}},
            "parameters was none in main and is limit_v 2.5 now: a replay gives other rows",
        ),
    ],
)
def test_what_may_change_is_noted(change: dict[str, Any], said: str) -> None:
    findings = check_released(with_one(replace(TREND, **change)), DATASETS, "main")
    assert findings.breaking == ()
    (note,) = findings.notes
    assert said in note


def test_words_and_people_may_change_in_silence() -> None:
    changed = replace(TREND, owner="others", description="Other words.", producer="ml", consumers=("ml",))
    assert check_released(with_one(changed), DATASETS, "main") == check_declared(DATASETS)


def test_a_dataset_or_version_that_is_gone_breaks() -> None:
    without = {name: dataset for name, dataset in DATASETS.items() if name != "raw_data"}
    (sentence,) = check_released(without, DATASETS, "main").breaking
    assert sentence.startswith("raw_data: released in main and gone now: its consumers (clickhouse, stream_processing)")
    only_first = replace(RAW, versions={1: RAW.versions[1]})
    (sentence,) = check_released(with_one(only_first), DATASETS, "main").breaking
    assert sentence.startswith("raw_data.v2.avsc: released in main and gone now")


def test_a_new_dataset_or_version_breaks_nothing() -> None:
    before = {"raw_data": replace(RAW, versions={1: RAW.versions[1]})}
    assert check_released(DATASETS, before, "main") == check_declared(DATASETS)


def edited(dataset: Dataset, version: int, old: str, new: str) -> Dataset:
    """The dataset with one text of a version's schema replaced."""
    text = dataset.versions[version].schema
    assert old in text
    changed = parse_record(text.replace(old, new, 1), "edited")
    return replace(dataset, versions={**dataset.versions, version: changed})


def test_a_released_file_may_change_in_doc_only() -> None:
    other_words = edited(RAW, 2, "Meter that took the reading.", "The meter.")
    assert check_released(with_one(other_words), DATASETS, "main").breaking == ()
    with_unit = edited(RAW, 2, '"unit": "V"', '"unit": "mV"')
    rule, harm = check_released(with_one(with_unit), DATASETS, "main").breaking
    assert rule.startswith("raw_data.v2.avsc was released in main, and a released version never changes (except doc)")
    assert "put the change into v3" in rule
    assert "field voltage_v: its unit is V in v2 as released and mV in v2 as it is now" in harm


def test_a_change_that_would_be_compatible_is_refused_in_a_released_file_all_the_same() -> None:
    added = '"fields": [{"name": "phase", "type": ["null", "long"], "default": null}, '
    (rule,) = check_released(with_one(edited(RAW, 2, '"fields": [', added)), DATASETS, "main").breaking
    assert "never changes" in rule


def test_two_datasets_may_not_share_a_topic() -> None:
    (sentence,) = check_declared(with_one(replace(TREND, topic="smart-meter-data-dead-letters"))).breaking
    assert "smart-meter-data-dead-letters belongs to meter_minute_trend already" in sentence


# The command, on contracts in a repository of its own.


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    run = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return run.stdout.strip()


@pytest.fixture
def contracts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The contracts in a folder of a new repository, committed on main; no repository around it is seen."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    git(tmp_path, "init", "-q", "-b", "main")
    folder = Path(shutil.copytree(CONTRACTS, tmp_path / "a folder" / "contracts"))
    commit(folder, "release")
    return folder


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "-A", ".")
    git(folder, "commit", "-q", "--allow-empty", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def break_unit(folder: Path) -> None:
    for path in folder.glob("meter_minute_trend.v*.avsc"):
        path.write_text(path.read_text().replace('"unit": "kW"', '"unit": "W"', 1))


def run(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(command, ["check", "--contracts", str(folder), *options])


def test_what_is_committed_and_unchanged_passes(contracts: Path) -> None:
    result = run(contracts)
    assert result.exit_code == 0, result.output
    assert "compared with: main (" in result.output
    datasets = load_datasets(contracts).values()
    versions = sum(len(dataset.versions) for dataset in datasets)
    assert f"{len(datasets)} datasets, {versions} versions: all hold" in result.output


def test_an_edit_that_is_not_committed_is_found(contracts: Path) -> None:
    break_unit(contracts)
    result = run(contracts)
    assert result.exit_code == 1
    assert "breaks: meter_minute_trend.v1.avsc was released in main" in result.output
    assert "field power_avg_kw: its unit is kW in v1 as released and W in v1 as it is now" in result.output
    assert "4 things break" in result.output


def test_a_bad_commit_on_main_is_found_by_the_one_before(contracts: Path) -> None:
    break_unit(contracts)
    commit(contracts, "bad")
    assert run(contracts).exit_code == 1
    commit(contracts, "later")  # it is released now, for better or worse
    assert run(contracts).exit_code == 0
    assert run(contracts, "--base", "HEAD~2").exit_code == 1


def test_a_branch_is_compared_with_where_it_left_main(contracts: Path) -> None:
    left = git(contracts, "rev-parse", "HEAD")
    git(contracts, "switch", "-q", "-c", "branch")
    break_unit(contracts)
    commit(contracts, "bad")
    commit(contracts, "later")
    assert [base.commit for base in bases(contracts)] == [left]
    assert run(contracts).exit_code == 1
    git(contracts, "switch", "-q", "main")
    (contracts / "raw_data.yaml").write_text((contracts / "raw_data.yaml").read_text() + "# more\n")
    commit(contracts, "main goes on")
    git(contracts, "switch", "-q", "branch")
    assert [base.commit for base in bases(contracts)] == [left]


def test_a_clone_that_has_main_as_a_remote_branch_only(contracts: Path, tmp_path: Path) -> None:
    left = git(contracts, "rev-parse", "HEAD")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--no-local", str(tmp_path), str(clone))
    git(clone, "switch", "-q", "-c", "branch")
    git(clone, "branch", "-q", "-D", "main")
    commit(clone, "later")
    assert [(base.commit, base.label) for base in bases(clone / "a folder" / "contracts")] == [(left, "origin/main")]


def test_the_released_datasets_are_those_of_the_commit(contracts: Path) -> None:
    (base,) = bases(contracts)
    break_unit(contracts)
    assert released_datasets(base, contracts) == DATASETS


def test_a_commit_before_there_were_contracts_released_nothing(contracts: Path) -> None:
    folder = Path(shutil.copytree(contracts, contracts.parent / "elsewhere"))
    (base,) = bases(folder)
    assert released_datasets(base, folder) == {}


def test_an_unknown_base_is_an_error(contracts: Path) -> None:
    with pytest.raises(SmartmeterError, match="git knows no commit v9"):
        bases(contracts, "v9")
    result = run(contracts, "--base", "--output=x")
    assert result.exit_code != 0


def test_without_git_the_rest_is_checked_and_the_part_that_is_not_is_named(contracts: Path) -> None:
    shutil.rmtree(contracts.parent.parent / ".git")
    with pytest.raises(NoHistory, match="not a git repository"):
        bases(contracts)
    result = run(contracts)
    assert result.exit_code == 0, result.output
    assert "not compared with what was released: this is not a git repository" in result.stderr
    (contracts / "raw_data.v2.avsc").write_text("{}")
    assert run(contracts).exit_code == 1


def test_without_the_git_program_it_says_so(contracts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "git is not installed" in run(contracts).stderr


def test_everything_that_is_wrong_is_told_at_once(contracts: Path) -> None:
    (contracts / "raw_data.v2.avsc").write_text("{}")
    (contracts / "stray.v1.avsc").write_text("{}")
    (contracts / "meter_stats_30s.v1.json").unlink()
    examples = contracts / "meter_minute_trend.v1.json"
    records = json.loads(examples.read_text())
    examples.write_text(json.dumps([records[0] | {"event_count": 0}]))
    datasets, unreadable = load_all(contracts)
    assert "raw_data" not in datasets
    assert len(datasets) == len(load_datasets()) - 1
    assert [sentence.split(":")[0] for sentence in unreadable] == ["stray.v1.avsc", "raw_data.v2.avsc"]
    result = run(contracts)
    assert result.exit_code == 1
    for said in ("stray.v1.avsc", "raw_data.v2.avsc", "meter_stats_30s.v1.json: no examples", "record 1: event_count"):
        assert f"breaks: {said}" in result.output or said in result.output
    assert "4 things break" in result.output
