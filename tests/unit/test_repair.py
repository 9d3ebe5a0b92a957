"""How far behind a grain's query is, by what the stream has told."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from infra.base.log import Entry, Extent, Log
from infra.base.settings import Settings
from infra.operations.metrics.figures import stream_lag
from infra.operations.repair import stream_behind
from stream_processing.progress import progress_file

EXTENTS = [Extent(0, 0, 10), Extent(1, 3, 5)]


class FullLog:
    """Holds a message at every offset."""

    def entries(self, _: str, extents: Sequence[Extent]) -> Iterator[Entry]:
        return (Entry(at.partition, offset, b"", 0) for at in extents for offset in range(at.begin, at.end))


@pytest.mark.parametrize(
    ("progress", "behind", "figures"),
    [
        ({}, 12, []),
        ({"end_offsets": None}, 12, []),
        ({"end_offsets": {"t": None}}, 12, [15]),
        ({"end_offsets": {"t": {"0": 4, "1": 5}}}, 6, [6]),
    ],
)
def test_before_the_first_batch_a_query_has_read_nothing(
    tmp_path: Path, progress: dict[str, Any], behind: int, figures: list[int]
) -> None:
    told = {"grains": {"meter_30s": {"restarts": 0, "progress": progress}}}
    progress_file(tmp_path).parent.mkdir(parents=True, exist_ok=True)
    progress_file(tmp_path).write_text(json.dumps(told))
    settings = Settings.model_construct(data_dir=tmp_path)
    assert stream_behind(settings, cast(Log, FullLog()), "meter_30s", "t", EXTENTS) == behind
    ends = {"t": {at.partition: at.end for at in EXTENTS}}
    assert [figure.value for figure in stream_lag(told, ends)] == figures
