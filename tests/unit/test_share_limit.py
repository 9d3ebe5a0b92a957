from hypothesis import given
from hypothesis import strategies as st

from infra.base.share_limit import ShareLimit
from tests.unit.records import unhurried

LIMIT = ShareLimit(max_share=0.05, window=100, minimum=40)


def test_a_few_bad_messages_at_the_beginning_prove_nothing() -> None:
    assert not LIMIT.exceeded(2, 2)
    assert LIMIT.exceeded(3, 3), "more than 5 % of 40"
    assert not LIMIT.exceeded(5, 100)
    assert LIMIT.exceeded(6, 100)


def test_a_burst_is_found_though_good_messages_follow() -> None:
    burst = list(range(500, 506))
    assert LIMIT.first_excess([*burst, 5000], [*burst, 5000], 0) == (505, 6, 100)
    assert LIMIT.first_excess([*burst, 5000], [5000], 0) is None, "what was judged before is not judged again"


def test_no_share_is_too_great_for_one_hundred_per_cent() -> None:
    everything = list(range(1000))
    assert ShareLimit(max_share=1.0, window=10, minimum=1).first_excess(everything, everything, 0) is None


@unhurried
@given(
    st.lists(st.integers(0, 400), unique=True, max_size=60).map(sorted),
    st.data(),
    st.integers(0, 200),
)
def test_it_is_the_count_over_the_stretch_by_the_long_way(bad: list[int], data: st.DataObject, begin: int) -> None:
    bad = [offset for offset in bad if offset >= begin]
    new = data.draw(st.lists(st.sampled_from(bad), unique=True)) if bad else []
    expected = None
    for offset in sorted(new):
        stretch = [at for at in range(begin, offset + 1) if at > offset - 100]
        count = len([at for at in stretch if at in bad])
        if count > 0.05 * max(len(stretch), 40):
            expected = (offset, count, len(stretch))
            break
    assert LIMIT.first_excess(bad, new, begin) == expected
