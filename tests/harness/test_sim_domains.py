"""Simulated trees of domains: what the world does to them, and what it checks."""
from __future__ import annotations

from typing import Any

import pytest

from seatrial.harness.rng import Rng
from seatrial.harness.sim.domain_world import DomainWorld
from seatrial.harness.sim.environment import Environment

from .domain_sites import (
    MS,
    SHAPES,
    A,
    B,
    C,
    S,
    Shape,
    Site,
    between,
    clients,
    cut,
    hosts_of,
    leader_of,
    run_until,
    world_of,
)


@pytest.mark.parametrize("name", SHAPES)
def test_a_tree_gets_going_and_agrees(name: str) -> None:
    w = world_of(SHAPES[name])
    run_until(w, lambda: w.converged() is None)
    assert w.tree() == w.first_tree()
    asking = clients(w, SHAPES[name], Rng(1))
    run_until(w, lambda: all(client.answered > 50 for client in asking))
    for client in asking:
        client.stopped = True
    w.run([], w.now_ns + S)
    run_until(w, lambda: w.converged() is None)
    assert w.invariants().applied_anywhere > 50
    assert w.read_invariants().reads > 50
    for host in range(w.hosts):
        assert w.invariants().mirror(host + 1) == w.invariants().mirror(1)


def test_the_same_seed_is_the_same_run() -> None:
    def digest(seed: int, *, record: bool = False) -> str:
        w = world_of(SHAPES["layers"], seed, record=record)
        clients(w, SHAPES["layers"], Rng(1))
        w.run([], 5 * S)
        return w.digest()

    assert digest(1) == digest(1, record=True) != digest(2)


def test_writes_wait_for_a_sync_domain_that_is_cut_off_until_it_is_excluded() -> None:
    shape = SHAPES["sync"]
    w = world_of(shape)
    run_until(w, lambda: w.converged() is None)
    hosts = hosts_of(shape)
    writer = clients(w, shape, Rng(1), writers=1)[0]
    run_until(w, lambda: writer.answered > 5)
    undo = cut(w, between(hosts[A], hosts[B]))
    run_until(w, lambda: not included(w, B))
    before = writer.answered
    run_until(w, lambda: writer.answered > before + 5)
    undo()
    run_until(w, lambda: included(w, B))


def test_a_link_comes_back_whichever_leader_falls() -> None:
    shape = SHAPES["sync"]
    w = world_of(shape)
    run_until(w, lambda: w.converged() is None)
    for chosen in ((A,), (B,), (A, B)):
        struck = [leader_of(w, domain) for domain in chosen]
        for host in struck:
            assert host is not None
            w.kill(host)
        w.run([], w.now_ns + 3 * S)
        for host in struck:
            assert host is not None
            w.start(host)
        run_until(w, lambda: w.converged() is None)
    assert w.links_made >= 4


def test_a_link_that_a_cut_silences_is_given_up_and_made_again() -> None:
    shape = SHAPES["async"]
    w = world_of(shape, environment=Environment(reset_ppm=1000))
    run_until(w, lambda: w.converged() is None)
    hosts, made = hosts_of(shape), w.links_made
    undo = cut(w, between(hosts[A], hosts[B])[::2])
    w.run([], w.now_ns + 5 * S)
    undo()
    run_until(w, lambda: w.links_made > made and w.converged() is None)
    assert w.links_lost > 0
    assert w.now_ns > 500 * MS


def test_a_domain_is_excluded_while_another_one_lives_and_is_given_leases() -> None:
    shape = SHAPES["two"]
    w = world_of(shape)
    run_until(w, lambda: w.converged() is None)
    hosts = hosts_of(shape)
    writer = clients(w, shape, Rng(1), writers=1)[0]
    run_until(w, lambda: writer.answered > 5)
    cut(w, between(hosts[A], hosts[B]))
    run_until(w, lambda: not included(w, B), 5 * S)
    assert included(w, C)


def test_a_policy_that_counts_more_domains_waits_for_no_lease() -> None:
    w = world_of(SHAPES["two"])
    run_until(w, lambda: w.converged() is None)
    for k in (1, 0):
        leader = leader_of(w, A)
        assert leader is not None
        assert w.change_tree(leader, lambda tree, k=k: tree.policy(A, k))
        run_until(w, lambda k=k: w.tree().domains[A].any_k == k, 5 * S)     # type: ignore[misc]


def test_who_was_paused_does_not_trust_the_lease_that_it_had() -> None:
    shape = SHAPES["two"]
    w = world_of(shape)
    run_until(w, lambda: w.converged() is None)
    asking = clients(w, shape, Rng(1), writers=1)
    writer, reader = asking[0], asking[-1]
    run_until(w, lambda: min(writer.answered, reader.answered) > 20)
    host = hosts_of(shape)[C][0]
    for _ in range(3):
        w.pause(host)
        run_until(w, lambda: not included(w, C))
        before = writer.answered
        run_until(w, lambda before=before: writer.answered > before + 20)   # type: ignore[misc]
        w.resume(host)                  # what was asked meanwhile is answered now, or not at all
        run_until(w, lambda: included(w, C))


def included(w: DomainWorld, domain: int) -> bool:
    """Whether a domain counts, by the newest tree that the root has committed."""
    tree = w.tree()
    return tree is not None and tree.domains[domain].included


def test_a_domain_that_left_the_tree_need_not_know_how_what_it_holds_ended() -> None:
    shape = SHAPES["async"]
    w = world_of(shape)
    run_until(w, lambda: w.converged() is None)
    writer = clients(w, shape, Rng(1), writers=1)[0]
    hosts = hosts_of(shape)

    def is_ahead() -> bool:
        """Whether the child holds what it doesn't know to be committed."""
        child = leader_of(w, B)
        status = w.status(child) if child is not None else None
        return status is not None and status["commit"] > status["applied"]

    run_until(w, lambda: writer.answered > 5 and is_ahead())
    cut(w, between(hosts[A], hosts[B]))
    w.run([], w.now_ns + S)
    assert is_ahead()
    leader = leader_of(w, A)
    assert leader is not None
    assert w.change_tree(leader, lambda tree: tree.remove(B))
    writer.stopped = True
    run_until(w, lambda: B not in w.tree().domains and w.converged() is None)


def test_domains_whose_old_trees_go_round_in_a_circle_hear_of_the_newest() -> None:
    shape = {A: Site(1), B: Site(1, A), C: Site(1, B)}
    w = world_of(shape)
    run_until(w, lambda: w.converged() is None)
    leader = leader_of(w, A)
    assert leader is not None
    w.kill(hosts_of(shape)[B][0])
    for child, parent in ((C, A), (B, C)):          # C, which is below B as far as both know
        assert w.change_tree(leader, lambda tree, c=child, p=parent: tree.reparent(c, p))
        run_until(w, lambda c=child, p=parent:                          # type: ignore[misc]
                  w.tree().domains[c].parent == p)
    w.start(hosts_of(shape)[B][0])      # A sends it to C, which asks it
    run_until(w, lambda: w.converged() is None)


def test_a_new_leader_excludes_nobody_for_what_it_has_not_been_told_yet() -> None:
    shape = SHAPES["lag"]
    w = world_of(shape)
    run_until(w, lambda: w.converged() is None)
    writer = clients(w, shape, Rng(1), writers=1)[0]
    run_until(w, lambda: writer.answered > 60)      # more than the bound
    writer.stopped = True
    run_until(w, lambda: w.converged() is None)
    before = w.tree()
    for _ in range(3):
        leader = leader_of(w, A)
        assert leader is not None
        w.kill(leader)
        run_until(w, lambda leader=leader: leader_of(w, A) not in (None, leader))  # type: ignore[misc]
        w.start(leader)
        run_until(w, lambda: w.converged() is None)
        assert w.tree() == before


def child_told(w: DomainWorld, child: int, of: int = A) -> dict[str, Any]:
    """Return what a parent's leader says of a child; nothing while there is no leader."""
    leader = leader_of(w, of)
    status = w.status(leader) if leader is not None else None
    return dict(status["domain"]["children"].get(child, {})) if status is not None else {}


def test_what_an_operator_excluded_stays_so_until_it_is_released() -> None:
    shape = SHAPES["two"]
    w = world_of(shape)
    run_until(w, lambda: w.converged() is None)
    writer = clients(w, shape, Rng(1), writers=1)[0]
    leader = leader_of(w, A)
    assert leader is not None
    assert w.change_tree(leader, lambda tree: tree.exclude(B, held=True))
    run_until(w, lambda: not included(w, B))
    for struck in (leader, hosts_of(shape)[B][0]):      # nor does another leader include it
        before = writer.answered
        w.kill(struck)
        run_until(w, lambda before=before: writer.answered > before + 20)   # type: ignore[misc]
        w.start(struck)
        run_until(w, lambda: child_told(w, B).get("link") == "streaming")
        before = writer.answered
        run_until(w, lambda before=before: writer.answered > before + 50)   # type: ignore[misc]
        told = child_told(w, B)
        assert (told["included"], told["held"]) == (False, True)
        assert not told["cannot_readmit"]
    leader = leader_of(w, A)
    assert leader is not None
    assert w.change_tree(leader, lambda tree: tree.release(B))
    run_until(w, lambda: included(w, B))
    assert not child_told(w, B)["held"]


def test_writers_stall_while_a_child_lacks_more_bytes_than_it_may() -> None:
    worst = {}
    for bound in (20_000, 0):
        site = Site(1, A, max_lag_bytes=bound, on_lag="stall" if bound else "none")
        shape = {A: Site(1), B: site}
        w = world_of(shape)
        run_until(w, lambda w=w: w.converged() is None)                 # type: ignore[misc]
        hosts = hosts_of(shape)
        writer = clients(w, shape, Rng(1), writers=1)[0]
        slow = w.impair(between(hosts[A], hosts[B]), delay_ns=0, jitter_ns=0, loss_ppm=0,
                        corrupt_ppm=0, bytes_per_s=8_000)
        lags = []
        for _ in range(100):
            w.run([], w.now_ns + 100 * MS)
            lags.append(child_told(w, B).get("lag_bytes") or 0)
        worst[bound] = max(lags)
        assert (writer.statuses.get("busy", 0) > 20) == (bound > 0)
        w.lift(slow)
        before = writer.answered
        run_until(w, lambda writer=writer, before=before:               # type: ignore[misc]
                  writer.answered > before + 50)
    assert 20_000 < worst[20_000] < 30_000 < 60_000 < worst[0]


def far_behind(shape: Shape) -> tuple[DomainWorld, int]:
    """Return a world in which a child was excluded, and its link can't carry what is written: and
    what makes the link as it was."""
    w = world_of(shape)
    run_until(w, lambda: w.converged() is None)
    hosts = hosts_of(shape)
    writers = clients(w, shape, Rng(1), writers=3)[:3]
    pairs = between(hosts[A], hosts[B])
    undo = cut(w, pairs)
    run_until(w, lambda: not included(w, B))
    run_until(w, lambda: (child_told(w, B).get("lag_entries") or 0) > 500)
    slow = w.impair(pairs, delay_ns=0, jitter_ns=0, loss_ppm=0, corrupt_ppm=0,
                    bytes_per_s=60_000)
    undo()
    assert all(writer.answered for writer in writers)
    return w, slow


def test_that_an_excluded_domain_can_t_be_readmitted_is_told_until_it_can() -> None:
    w, slow = far_behind({A: Site(1), B: Site(1, A, sync=True)})
    run_until(w, lambda: bool(child_told(w, B).get("cannot_readmit")), 60 * S)
    assert not included(w, B)
    w.lift(slow)
    run_until(w, lambda: included(w, B), 60 * S)
    run_until(w, lambda: not child_told(w, B)["cannot_readmit"])


def test_writers_are_throttled_so_that_an_excluded_domain_can_catch_up() -> None:
    w, _ = far_behind({A: Site(1), B: Site(1, A, sync=True, readmit_throttle=True)})
    run_until(w, lambda: included(w, B), 120 * S)
    assert not child_told(w, B)["cannot_readmit"]
