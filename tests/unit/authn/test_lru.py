from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from extauthz.authn.lru import SegmentedLru


@given(st.integers(0, 12), st.lists(st.tuples(st.sampled_from("gpd"), st.integers(0, 20)), max_size=200))
def test_bounded_and_never_wrong(limit: int, steps: list[tuple[str, int]]) -> None:
    cache: SegmentedLru[int] = SegmentedLru(limit)
    latest: dict[bytes, int] = {}
    for turn, (step, number) in enumerate(steps, 1):
        key = bytes([number])
        if step == "p":
            cache.put(key, turn)
            latest[key] = turn
        elif step == "d":
            cache.drop(key)
            latest.pop(key, None)
        else:
            assert cache.get(key) in (None, latest.get(key))
        assert len(cache) <= limit


def test_the_hot_set_survives_a_flood() -> None:
    cache: SegmentedLru[int] = SegmentedLru(10)
    for key in (b"a", b"b"):
        cache.put(key, 1)
        assert cache.get(key) == 1
    for number in range(1000):
        cache.put(number.to_bytes(4), number)
    assert (cache.get(b"a"), cache.get(b"b")) == (1, 1)


def test_the_least_recently_used_hot_entry_goes_first() -> None:
    cache: SegmentedLru[int] = SegmentedLru(5)
    for number in range(5):
        cache.put(bytes([number]), number)
        assert cache.get(bytes([number])) == number
    for number in range(100, 110):
        cache.put(bytes([number]), number)
    assert cache.get(bytes([0])) is None
    assert cache.get(bytes([4])) == 4


def test_a_replaced_entry_stays_hot() -> None:
    cache: SegmentedLru[int] = SegmentedLru(10)
    cache.put(b"a", 1)
    cache.get(b"a")
    cache.put(b"a", 2)
    for number in range(100):
        cache.put(number.to_bytes(4), number)
    assert cache.get(b"a") == 2
