"""What the checker of all domains says of two trees, one committed after the other. (Its other
properties are each broken by planted bugs: tests/harness/test_mutants.py.)"""
from __future__ import annotations

import pytest

from seatrial.core.domain_invariants import held_until_released
from seatrial.core.errors import InvariantViolation
from seatrial.core.tree import Domain, Tree

TREE = Tree({1: Domain("a", nodes=((1, ""),)),
             2: Domain("b", 1, sync=True, included=True, nodes=((2, ""),))}, 1)
HELD = TREE.exclude(2, held=True)


def test_who_is_held_is_included_only_after_a_release() -> None:
    for before, after in ((TREE, TREE), (TREE, HELD), (HELD, HELD), (HELD, HELD.release(2)),
                          (HELD.release(2), TREE), (HELD, HELD.remove(2))):
        held_until_released(before, after, 9)
    with pytest.raises(InvariantViolation, match="held until released: the tree of entry 9 "
                                                 "includes domain 2, which an operator had excl"):
        held_until_released(HELD, TREE, 9)
