"""The streams of draws against their definition in plain Python; they decide every run."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seatrial.harness.rng import GAMMA, MASK, Rng, mix64

WORD = st.integers(0, MASK)


def mixed(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def drawn(seed: int, count: int) -> list[int]:
    return [mixed((seed + GAMMA * (i + 1)) & MASK) for i in range(count)]


@given(WORD)
def test_draws_are_those_of_splitmix64(seed: int) -> None:
    rng = Rng(seed)
    assert [rng.next64() for _ in range(5)] == drawn(seed, 5)
    assert mix64(seed) == mixed(seed)


def test_the_first_draws_of_a_published_example() -> None:
    rng = Rng(1234567)
    assert [rng.next64() for _ in range(3)] == [
        6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(WORD, st.integers(1, MASK))
def test_a_bounded_draw_is_the_upper_half_of_a_product(seed: int, n: int) -> None:
    assert Rng(seed).below(n) == drawn(seed, 1)[0] * n >> 64


@given(WORD, st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_a_uniform_draw_is_rounded_as_python_rounds(seed: int, low: float, width: float) -> None:
    high = low + width
    share = (drawn(seed, 1)[0] >> 11) * 2.0**-53
    assert Rng(seed).uniform(low, high) == low + (high - low) * share


@given(WORD, st.text(max_size=20))
def test_a_stream_depends_on_seed_and_name(seed: int, name: str) -> None:
    h = seed
    for byte in name.encode():
        h = mixed((h ^ byte) + GAMMA & MASK)
    assert Rng(seed).split(name).seed == h


@given(WORD, st.lists(st.integers(), max_size=9))
def test_a_shuffle_keeps_all(seed: int, items: list[int]) -> None:
    shuffled = Rng(seed).shuffled(items)
    assert sorted(shuffled) == sorted(items)
    assert Rng(seed).shuffled(items) == shuffled
    if items:
        assert Rng(seed).choice(items) in items


def test_a_stream_goes_on_from_a_state() -> None:
    one, other = Rng(7), Rng(0)
    one.next64()
    other.state = one.state
    assert other.next64() == one.next64()


def test_a_seed_is_taken_modulo_64_bits() -> None:
    assert Rng(-1).seed == Rng(MASK).seed == Rng((1 << 70) - 1).seed == MASK


def test_a_draw_from_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="n > 0"):
        Rng(1).below(0)
    with pytest.raises(OverflowError):
        Rng(1).below(-1)
