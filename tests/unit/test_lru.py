from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from extauthz.lru import SegmentedLru


def key(name: object) -> bytes:
    return str(name).encode()


def warmed(size: int, hot: int) -> SegmentedLru[bytes, int]:
    cache: SegmentedLru[bytes, int] = SegmentedLru(size)
    for number in range(hot):
        cache.put(key(f"hot{number}"), number)
        for _ in range(5):
            assert cache.get(key(f"hot{number}")) == number
    return cache


def hot_left(cache: SegmentedLru[bytes, int], hot: int) -> int:
    return sum(cache.get(key(f"hot{number}")) is not None for number in range(hot))


def test_a_flood_of_keys_asked_for_once_leaves_the_hot_set():
    cache = warmed(100, 60)
    for number in range(100_000):
        cache.put(key(number), number)
    assert len(cache) == 100
    assert hot_left(cache, 60) == 60


def test_a_flood_of_keys_asked_for_twice_leaves_the_hot_set_while_it_is_in_use():
    cache = warmed(100, 60)
    for number in range(20_000):
        cache.put(key(number), number)
        cache.get(key(number))
        if number % 5 == 0:
            cache.get(key(f"hot{number // 5 % 60}"))
    assert hot_left(cache, 60) == 60


def test_what_was_hot_long_ago_leaves_in_the_end():
    cache = warmed(20, 16)
    for number in range(400):
        cache.put(key(number % 16), number)
        for _ in range(3):
            cache.get(key(number % 16))
    assert sum(cache.get(key(number)) is not None for number in range(16)) >= 14


def test_a_new_value_replaces_the_old_one_in_place():
    cache = warmed(10, 1)
    cache.put(key("hot0"), 7)
    assert cache.get(key("hot0")) == 7
    cache.discard(key("hot0"))
    cache.discard(key("hot0"))
    assert cache.get(key("hot0")) is None
    assert len(cache) == 0


@given(st.integers(1, 12), st.lists(st.tuples(st.sampled_from("pgd"), st.integers(0, 20)), max_size=200))
def test_it_is_bounded_and_gives_back_only_what_was_put(size, steps):
    cache: SegmentedLru[bytes, int] = SegmentedLru(size)
    put: dict[int, int] = {}
    for count, (step, name) in enumerate(steps):
        if step == "p":
            cache.put(key(name), count)
            put[name] = count
        elif step == "d":
            cache.discard(key(name))
            put.pop(name, None)
        else:
            assert cache.get(key(name)) in {None, put.get(name)}
        assert len(cache) <= size


@given(st.integers(0, 12), st.lists(st.tuples(st.sampled_from("gpd"), st.integers(0, 20)), max_size=200))
def test_bounded_and_never_wrong(limit: int, steps: list[tuple[str, int]]) -> None:
    cache: SegmentedLru[bytes, int] = SegmentedLru(limit)
    latest: dict[bytes, int] = {}
    for turn, (step, number) in enumerate(steps, 1):
        key = bytes([number])
        if step == "p":
            cache.put(key, turn)
            latest[key] = turn
        elif step == "d":
            cache.discard(key)
            latest.pop(key, None)
        else:
            assert cache.get(key) in (None, latest.get(key))
        assert len(cache) <= limit


def test_a_cache_of_one() -> None:
    cache: SegmentedLru[str, int] = SegmentedLru(1)
    cache.put("a", 1)
    assert cache.get("a") == 1
    cache.put("b", 2)
    assert (cache.get("a"), cache.get("b"), len(cache)) == (None, 2, 1)


def test_a_replaced_entry_stays_hot() -> None:
    cache: SegmentedLru[bytes, int] = SegmentedLru(10)
    cache.put(b"a", 1)
    cache.get(b"a")
    cache.put(b"a", 2)
    for number in range(100):
        cache.put(number.to_bytes(4), number)
    assert cache.get(b"a") == 2
