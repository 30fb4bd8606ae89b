"""What the leader of one domain does, told step by step (domain_node.py)."""
from __future__ import annotations

from .domain_node import ACK, MS, B, S, tree
from .domain_stories import followed


def test_a_child_that_answers_and_gets_nothing_is_excluded_once_and_stays_so() -> None:
    node = followed(tree(b={"exclude_after_ns": S}))
    node.open()
    for _ in range(600):            # it lives; its own majority, or the way to it, does not
        node.child(B, ACK)
        node.wait(5 * MS)
    domain = node.replica.domain
    assert (domain.exclusions, domain.inclusions) == (1, 0)
    assert node.answer(1) == "ok"
    node.ack(B, node.end)
    node.wait(50 * MS)
    assert domain.inclusions == 1
