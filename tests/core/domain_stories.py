"""Stories of trees of domains, for test_planted_stories.py: one rule of the protocol each.

Each returns whether the rule was kept. The node that the story is about is real; what is around it
the story says itself (domain_node.py).
"""
from __future__ import annotations

import struct
from typing import Any

from seatrial.core.tree import Tree

from .domain_node import (
    ACK,
    APPEND,
    BASE,
    ELECTION_NS,
    EPOCH,
    LEASE_NS,
    MARK,
    MS,
    READ,
    READ_REPLY,
    SNAPSHOT,
    TREE,
    A,
    B,
    C,
    DomainNode,
    Entry,
    S,
    link_frame,
    tree,
)

MANY = 1000                     # more than a child that has caught up may lack
CLIENT_AT, RECORD_SIZE = 48, 72     # of a record


def root(first: Tree | None = None, *, members: int = 1, **more: int) -> DomainNode:
    """The leader of A, which has led for a while."""
    node = DomainNode(A, first or tree(), members=members, **more)
    node.lead()
    node.wait(S // 2)
    return node


def followed(first: Tree | None = None, *, members: int = 1) -> DomainNode:
    """The same, and B holds what it holds."""
    node = root(first, members=members)
    hold(node)
    return node


def hold(node: DomainNode, child: int = B) -> None:
    """A child attaches, and acknowledges everything."""
    node.attach(child, node.end, node.rterm(node.end) or 0)


def child(*entries: Entry, first: Tree | None = None, members: int = 1, rterm: int = 1,
          **fields: Any) -> DomainNode:
    """The leader of B, linked to its parent; entry 1 is the tree, and then come these."""
    node = DomainNode(B, members=members)
    node.lead()
    node.link()
    node.parent(rterm, Entry(1, 1, TREE, (first or tree()).encode()), *entries, **fields)
    return node


def appended(count: int, rterm: int = 1) -> list[Entry]:
    """Entries 2 to count."""
    return [Entry(rindex, rterm) for rindex in range(2, count + 1)]


def leased(*entries: Entry, members: int = 1) -> DomainNode:
    """The leader of B, which holds and has applied all that there is, and has a lease."""
    node = child(*entries, members=members)
    node.parent(1, before=(node.end, 1), mark=(node.end, 1), lease_ns=LEASE_NS)
    assert node.replica.status()["domain"]["lease"]
    return node


# ---- what must be held before a write is acknowledged ----------------------------------------

def write_without_the_child() -> bool:
    """B counts, and has not got a write yet."""
    node = followed()
    node.open()
    waits = node.answer(1) is None
    node.ack(B, node.end)
    assert node.answer(1) == "ok"
    return waits


def child_without_its_majority() -> bool:
    """The other members of B have not got an entry yet."""
    node = child(members=3)
    node.followers = False
    node.parent(1, Entry(2, 1), before=(1, 1))
    return node.acked() == 1


def grandchild_that_lacks_it() -> bool:
    """C, below B, counts, and has not got an entry yet."""
    node = child(Entry(2, 1), first=tree(c={"parent": B, "sync": True, "included": True}))
    waits = node.acked() == 0
    node.attach(C, 2, 1)
    assert node.acked() == 2
    return waits


def other_history_acknowledged() -> bool:
    """B acknowledges an entry of that rindex, of another leader."""
    node = followed()
    node.open()
    node.ack(B, node.end, node.rterm(node.end) + 7)     # type: ignore[operator]
    return node.answer(1) is None


def acknowledged_to_an_earlier_leader() -> bool:
    """B acknowledges an entry as one of a leader of A that was deposed: B may have cut it since."""
    node = followed()
    node.restart()
    node.attach(B)
    held = node.end
    node.ack(B, held, adopted_term=node.term - 1)
    return node.committed < held


def acknowledged_before_adopted() -> bool:
    """The root has a new leader, whose log B has compared with a part of its own."""
    node = child(*appended(3))
    node.link()
    node.parent(3, before=(1, 1), end=(5, 3))
    return node.acked() == 0


def exclusion_before_it_holds() -> bool:
    """B is excluded by an entry that C, which counts, has not got; C has got what is before it."""
    node = root(tree(c={"parent": A, "sync": True, "included": True}))
    hold(node)
    hold(node, C)
    before = node.end
    node.open()
    node.ack(C, node.end)
    node.change(lambda now: now.exclude(B))
    excluded = node.end
    node.wait(2 * LEASE_NS)         # no lease is left
    waits = node.committed == before
    node.ack(C, excluded)
    return waits and node.committed >= excluded


def inclusion_without_the_included() -> bool:
    """B is included by an entry that it has not got."""
    node = root(tree(b={"included": False}))
    node.attach(B)
    node.change(lambda now: now.readmit(B, node.end + 1))
    return node.committed < node.end


def exclusion_further_below() -> bool:
    """B acknowledges by an exclusion of C, below it, that A's own majority has not got."""
    node = root(tree(c={"parent": B, "sync": True, "included": True}), members=3)
    hold(node)
    node.wait(2 * LEASE_NS)
    before = node.end
    node.open()
    node.followers = False
    node.change(lambda now: now.exclude(C))
    node.ack(B, node.end)
    return node.committed == before


def any_of_the_excluded() -> bool:
    """Any one of B and C must have a write; C, excluded, has it."""
    node = root(tree(a={"any_k": 1}, c={"parent": A, "sync": True}))
    hold(node)
    node.attach(C, 1, 1)
    node.open()
    node.ack(C, node.end)
    return node.answer(1) is None


def write_while_one_catches_up() -> bool:
    """B, excluded, is far behind."""
    node = root(tree(b={"included": False}))
    node.attach(B, 1, 1)
    node.open()
    return node.answer(1) == "ok"


def write_to_the_silent() -> bool:
    """B counts, is silent, and is not excluded yet."""
    node = followed()
    node.wait(4 * ELECTION_NS)
    node.open()
    return node.answer(1) is None


def confirmed_by_the_excluded() -> bool:
    """A write is acknowledged that B, excluded, has not got: who confirmed it?"""
    node = root(tree(b={"included": False}))
    node.attach(B, 1, 1)
    node.open()
    assert node.answer(1) == "ok"
    return node.answers[1][2] == ()


def write_that_nobody_waits_for() -> bool:
    """A client gave up a write that B has not got; another one reads."""
    node = followed()
    node.open()
    node.ack(B, node.end)
    node.ask(2, "write", connection=2, poll=False)
    node.replica.client_down(2)
    node.poll()
    return node.applied == node.committed < node.end


# ---- mirrors -----------------------------------------------------------------------------------

def adopted_and_restarted() -> bool:
    """As in figure 8 of the Raft paper: the root's third leader takes over an entry of the first,
    which B acknowledges to it; B restarts, and hears of the second, who has another one there."""
    node = child(*appended(2))
    node.link()
    node.parent(3, before=(2, 1))
    assert node.acked() == 2
    node.restart()
    node.link()
    node.parent(2, Entry(2, 2), before=(1, 1))
    return node.rterm(2) == 1


def older_leader() -> bool:
    """A leader of the root that was deposed serves what it has."""
    node = child(Entry(2, 3), rterm=3)
    node.link()
    node.parent(2, Entry(2, 2), before=(1, 1))
    return node.rterm(2) == 3


def adopted_unseen() -> bool:
    """A new leader of the root has been heard, and nothing of its log compared with B's end."""
    node = child(*appended(3))
    node.link()
    node.parent(3, before=(1, 1), end=(5, 3))
    return bool(node.replica.raft.mirror.adopted == (EPOCH, 1))


def longer_than_the_parent() -> bool:
    """B holds more than its new parent serves so far."""
    node = child(*appended(3))
    node.link()
    node.parent(2, before=(2, 1))
    return node.rterm(3) == 1


def term_that_was_heard() -> bool:
    """B hears of a new leader of the root, which its own majority has not adopted; C asks."""
    node = child(*appended(2), first=tree(c={"parent": B}), members=3)
    node.attach(C, 1, 1)
    node.followers = False
    node.parent(3, before=(2, 1))
    node.to_child[C] = []
    node.child(C, ACK)
    told = [said["adopted_term"] for said in node.to_child[C] if said["kind"] == APPEND]
    return told == [1]


def mark_of_another_history() -> bool:
    """B holds an entry that the root has committed another one for; a member passes that on."""
    node = child(*appended(2), members=3)
    node.replica.receive_peer(12, link_frame(
        MARK, sender=12, domain=B, term=node.term, mark_rindex=2, mark_epoch=EPOCH, mark_term=3,
        adopted_epoch=EPOCH, adopted_term=3), node.now)
    node.poll()
    return node.applied == 0


def mark_before_adopted() -> bool:
    """A new leader of the root tells what is committed, before B has adopted its term."""
    node = child(*appended(3))
    node.link()
    node.parent(3, before=(2, 1), mark=(2, 1), end=(5, 3))
    return node.applied == 0


def not_committed_by_the_root() -> bool:
    """B's own majority has more than the root has committed."""
    node = child(*appended(3), mark=(1, 1))
    return node.applied == 1


def link_made_anew() -> bool:
    """The connection to the parent breaks, while B holds what the root has not committed."""
    node = child(*appended(3), mark=(1, 1))
    assert node.acked() == 3
    node.link()
    return node.rterm(3) == 1


def entries_after_others() -> bool:
    """What the parent sends follows an entry that B holds another one for."""
    node = child(*appended(2))
    node.link()
    node.parent(3, Entry(3, 3), before=(2, 3))
    return node.rterm(3) is None


def child_before_it_is_told() -> bool:
    """A child's first leader, before it has heard of any tree."""
    node = DomainNode(B)
    node.lead()
    return node.end == 0


def snapshot_for_a_child() -> bool:
    """B, which has C below it, is given a snapshot."""
    node = root(tree(b={"sync": False, "included": False}), snapshot_bytes=2000)
    node.open()
    for request in range(2, 60):
        node.ask(request, "write")
    assert node.replica.raft.log.first_index > 1
    node.attach(B)
    for _ in range(100):
        for said in node.to_child.pop(B, []):
            if said["kind"] == BASE:
                return len(said["rest"]) > 0
            if said["kind"] == SNAPSHOT and said["count"]:
                client, sequence = struct.unpack_from("<QQ", said["rest"], CLIENT_AT)
                size = len(said["rest"]) - RECORD_SIZE
                node.child(B, ACK, include_rindex=said["rindex"], round=sequence + size,
                           lease_ns=client)
        node.child(B, ACK)
    raise AssertionError("the snapshot never ended")


# ---- leases ------------------------------------------------------------------------------------

def grantor_without_its_majority() -> bool:
    """A leads three nodes, and the other two have been silent for most of an election timeout."""
    node = followed(members=3)
    node.wait(50 * MS)
    node.followers = False
    silent = node.now
    node.wait(60 * MS)
    return silent + ELECTION_NS >= node.now + node.lease_of(B)


def grantor_without_a_lease() -> bool:
    """B has no lease of its own; C, below it, asks."""
    node = child(*appended(2), first=tree(c={"parent": B, "sync": True, "included": True}))
    node.attach(C, 2, 1)
    node.parent(1, before=(2, 1), mark=(2, 1))
    without = node.lease_of(C)
    node.parent(1, before=(2, 1), mark=(2, 1), lease_ns=LEASE_NS)
    assert node.lease_of(C) > 0
    return without == 0


def grant_before_the_inclusion_holds() -> bool:
    """B's inclusion is in A's log, and not committed."""
    node = root(tree(b={"included": False}))
    hold(node)
    node.change(lambda now: now.readmit(B, node.end + 1))
    before = node.lease_of(B)
    node.ack(B, node.end)
    assert node.lease_of(B) > 0
    return before == 0


def lease_before_the_inclusion_holds() -> bool:
    """B is told of a lease that rests on its inclusion, before it has applied that."""
    outside = tree(b={"included": False})
    inside = outside.readmit(B, 2)
    node = child(Entry(2, 1, TREE, inside.encode()), first=outside)
    node.parent(1, before=(2, 1), mark=(1, 1), lease_ns=LEASE_NS, include_rindex=2)
    before = node.replica.status()["domain"]["lease"]
    node.parent(1, before=(2, 1), mark=(2, 1), lease_ns=LEASE_NS, include_rindex=2)
    assert node.replica.status()["domain"]["lease"]
    return not before


def lease_that_was_long_on_its_way() -> bool:
    """The answer that grants a lease took most of its time."""
    node = child(mark=(1, 1))
    sent = node.now
    node.wait(LEASE_NS - 50 * MS)
    node.parent(1, before=(1, 1), mark=(1, 1), lease_ns=LEASE_NS, echo_ns=sent)
    return bool(node.now + node.replica.status()["domain"]["lease_left_ns"] <= sent + LEASE_NS)


def grant_to_the_excluded() -> bool:
    """B's exclusion is in A's log, and B asks."""
    node = followed()
    assert node.lease_of(B) > 0
    node.change(lambda now: now.exclude(B))
    return node.lease_of(B) == 0


def passes_while_a_lease_runs(node: DomainNode, change: Any) -> bool:
    """B has a lease; then the tree changes, and A does not wait for B any more."""
    assert node.lease_of(B) > 0
    node.change(change)
    changed = node.end
    node.wait(20 * MS)
    early = node.committed >= changed
    node.wait(2 * LEASE_NS)
    assert node.committed >= changed
    return early


def excluded_with_a_lease() -> bool:
    """B is excluded while its lease runs."""
    return not passes_while_a_lease_runs(followed(), lambda now: now.exclude(B))


def made_async_with_a_lease() -> bool:
    """B is made asynchronous while its lease runs."""
    return not passes_while_a_lease_runs(followed(), lambda now: now.mode(B, False))


def excluded_by_a_new_leader() -> bool:
    """B is excluded by a leader who does not know which leases the one before it gave."""
    node = followed()
    node.restart()
    elected = node.now
    node.change(lambda now: now.exclude(B))
    changed = node.end
    node.wait(20 * MS)
    early = node.committed >= changed
    node.wait(elected + 2 * LEASE_NS - node.now)
    assert node.committed >= changed
    return not early


def excluded_when_back() -> bool:
    """B reports that C, below it, is silent; C is back, and given a lease, when the entry comes
    that excludes it."""
    first = tree(c={"parent": B, "sync": True, "included": True})
    node = child(*appended(2), first=first)
    node.attach(C, 2, 1)
    node.parent(1, before=(2, 1), mark=(2, 1), lease_ns=LEASE_NS)
    assert node.lease_of(C) > 0
    node.parent(1, Entry(3, 1, TREE, first.exclude(C).encode()), before=(2, 1), mark=(2, 1))
    return node.acked() == 2


# ---- reads -------------------------------------------------------------------------------------

def root_asked_after_an_election() -> bool:
    """A new leader of A has what B did not confirm to it yet; C asks what a read must see."""
    node = followed(tree(c={"parent": A}))
    node.open()
    node.ack(B, node.end)
    acknowledged = node.end
    node.restart()
    node.attach(C, 1, 1)
    node.to_child[C] = []
    node.child(C, READ, round=1)
    [told] = [said["rindex"] for said in node.to_child[C] if said["kind"] == READ_REPLY]
    return bool(told >= acknowledged)


def read_of_what_is_not_applied() -> bool:
    """B holds an entry that it has not applied; it may be acknowledged by now."""
    node = leased(*appended(2))
    node.parent(1, Entry(3, 1), before=(2, 1), mark=(2, 1), lease_ns=LEASE_NS)
    node.ask(9, "read")
    return node.answer(9) is None


def read_at_a_deposed_leader() -> bool:
    """B's other members hear another leader by now; this one still has a lease."""
    node = leased(*appended(2), members=3)
    node.followers = False
    node.ask(9, "read")
    return node.answer(9) is None


def read_after_a_pause() -> bool:
    """B's leader stood still until its lease was over; then it reads what came meanwhile."""
    node = leased(*appended(2))
    node.now += LEASE_NS + 1
    node.ask(9, "read")
    return node.answer(9) is None


def read_without_a_lease() -> bool:
    """B has no lease, and has not asked the root."""
    node = child(*appended(2), mark=(2, 1))
    node.ask(9, "read")
    return node.answer(9) is None and len(node.said(READ)) == 1


def read_after_the_question() -> bool:
    """B has asked the root, and gets one more read before the answer comes."""
    node = child(*appended(2), mark=(2, 1))
    node.ask(8, "read")
    [asked] = node.said(READ)
    node.ask(9, "read")
    node.parent(1, kind=READ_REPLY, rindex=2, round=asked["round"])
    assert node.answer(8) == "ok"
    return node.answer(9) is None


def token_of_what_is_not_here() -> bool:
    """A client has seen more than B has applied."""
    node = child(*appended(2), mark=(2, 1))
    node.ask(9, "read", prefix=True, expected=struct.pack("<QQQ", 3, EPOCH, 1))
    return node.answer(9) is None


def age_of_what_is_told() -> bool:
    """What the parent tells was true five seconds ago; a client takes what is a second old."""
    node = child(*appended(2), mark=(2, 1), age_ns=5 * S)
    node.now += 6 * S
    node.parent(1, before=(2, 1), mark=(2, 1), age_ns=5 * S)
    node.ask(9, "read", prefix=True, bounded=True, expected=struct.pack("<QQQQ", 1, EPOCH, 1, S))
    return node.answer(9) != "ok"


# ---- the watch over children -------------------------------------------------------------------

def included_too_early() -> bool:
    """B, excluded, has got little of what there has been for long."""
    node = root(tree(b={"included": False, "exclude_after_ns": S}))
    node.open()
    for request in range(2, MANY):
        node.ask(request, "write", poll=False)
    node.poll()
    node.wait(S)
    node.attach(B, 2, 1)
    node.wait(50 * MS)
    return not node.replica.tree().domains[B].included      # type: ignore[union-attr]


def alive_and_behind() -> bool:
    """B answers, and its link is so slow that nothing new gets through."""
    node = followed(tree(b={"exclude_after_ns": S}))
    node.open()
    for _ in range(300):
        node.child(B, ACK)
        node.wait(5 * MS)
    return not node.replica.tree().domains[B].included      # type: ignore[union-attr]


STORIES = {
    "child-not-waited-for": write_without_the_child,
    "domain-majority-not-waited-for": child_without_its_majority,
    "grandchild-not-waited-for": grandchild_that_lacks_it,
    "link-ack-by-rindex": other_history_acknowledged,
    "ack-of-earlier-term": acknowledged_to_an_earlier_leader,
    "ack-before-adoption": acknowledged_before_adopted,
    "exclusion-acts-on-older": exclusion_before_it_holds,
    "inclusion-acts-late": inclusion_without_the_included,
    "ack-rests-on-later-exclusion": exclusion_further_below,
    "any-k-counts-excluded": any_of_the_excluded,
    "catching-up-gates": write_while_one_catches_up,
    "degrades-silently": write_to_the_silent,
    "confirmers-from-tree": confirmed_by_the_excluded,
    "root-reads-unconfirmed-writes": write_that_nobody_waits_for,
    "adopted-term-volatile": adopted_and_restarted,
    "stale-parent-truncates": older_leader,
    "adopted-at-once": adopted_unseen,
    "tail-cut-at-parents-end": longer_than_the_parent,
    "serves-heard-term": term_that_was_heard,
    "mark-by-rindex": mark_of_another_history,
    "mark-of-later-leader": mark_before_adopted,
    "apply-before-root-commit": not_committed_by_the_root,
    "truncates-to-mark": link_made_anew,
    "link-previous-unchecked": entries_after_others,
    "child-assigns": child_before_it_is_told,
    "snapshot-without-tree": snapshot_for_a_child,
    "lease-beyond-quorum": grantor_without_its_majority,
    "lease-beyond-own": grantor_without_a_lease,
    "lease-before-inclusion": grant_before_the_inclusion_holds,
    "lease-taken-before-inclusion": lease_before_the_inclusion_holds,
    "link-lease-from-answer": lease_that_was_long_on_its_way,
    "lease-to-excluded": grant_to_the_excluded,
    "exclusion-without-waiting": excluded_with_a_lease,
    "only-exclusion-waits": made_async_with_a_lease,
    "exclusion-forgets-earlier-leader": excluded_by_a_new_leader,
    "exclusion-waits-before-proposing": excluded_when_back,
    "root-read-before-elected-end": root_asked_after_an_election,
    "domain-read-of-applied": read_of_what_is_not_applied,
    "domain-read-unconfirmed": read_at_a_deposed_leader,
    "domain-read-old-clock": read_after_a_pause,
    "domain-read-without-lease": read_without_a_lease,
    "domain-read-joins-asked": read_after_the_question,
    "token-ignored": token_of_what_is_not_here,
    "age-from-arrival": age_of_what_is_told,
    "readmit-before-caught-up": included_too_early,
    "lag-by-heartbeat": alive_and_behind,
}
