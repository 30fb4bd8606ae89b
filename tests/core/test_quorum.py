"""Quorum arithmetic against its definition."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seatrial.core.quorum import majority_of


@given(st.lists(st.integers(0, 9) | st.integers(0, (1 << 64) - 1), min_size=1, max_size=64))
def test_a_majority_has_reached_it_and_nothing_larger(values: list[int]) -> None:
    reached = majority_of(values)
    assert reached in values
    assert sum(v >= reached for v in values) > len(values) // 2
    assert sum(v > reached for v in values) <= len(values) // 2


def test_nobody_has_reached_nothing() -> None:
    assert majority_of([]) == 0


def test_more_members_than_a_cluster_may_have_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 64"):
        majority_of([1] * 65)
