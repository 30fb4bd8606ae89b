"""What a review found in trees of domains where links are long, slow, or were broken: nobody was
excluded, refused or left waiting without need. Each was so once."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from seatrial.core import codec
from seatrial.core.tree import Tree
from seatrial.harness.rng import Rng
from seatrial.harness.sim.domain_world import DomainWorld
from seatrial.harness.sim.environment import Environment

from . import domain_sites
from .domain_sites import MS, A, B, C, Client, S, Shape, Site, between, cut, leader_of, run_until
from .test_sim_domain_found import Steady, begun, domain, writers


def go(w: DomainWorld, ns: int) -> None:
    """Let so much time pass, whatever happens."""
    w.call_at(w.now_ns + ns, int)
    w.run([], w.now_ns + ns)


def child(w: DomainWorld, host: int, id: int) -> dict[str, Any]:
    """Return what a parent's node says of a child."""
    found: dict[str, Any] = domain(w, host)["children"][id]
    return found


def busy(clients: list[Client]) -> int:
    return sum(one.statuses.get("busy", 0) for one in clients)


def answered(clients: list[Client]) -> int:
    return sum(one.answered for one in clients)


def included(w: DomainWorld, id: int) -> bool:
    tree = w.tree()
    return tree is not None and bool(tree.domains[id].included)


class Own(Client):
    """Writes a few keys of its own, 200 bytes each."""

    keys = 30

    def question(self) -> bytes:
        if not self.session:
            return Client.question(self)
        return codec.encode_request(
            self.request, self.session, self.request, codec.OPS["write"],
            b"%d-%d" % (self.number, self.request % self.keys), bytes(200))


def owners(w: DomainWorld, hosts: range, count: int) -> list[Client]:
    """Return clients that write and have written a little."""
    found: list[Client] = [Own(w, n + 1, hosts, Rng(1).split(str(n)), writes=True)
                           for n in range(count)]
    run_until(w, lambda: found[0].answered > 20)
    return found


def test_who_follows_a_new_leader_of_the_root_calls_no_child_lagging() -> None:
    w, hosts, leader = begun({A: Site(3), B: Site(1, A, sync=True), C: Site(
        1, B, sync=True, max_lag_entries=40, on_lag="exclude")})
    writer = writers(w, hosts[A], 1)[0]
    run_until(w, lambda: writer.answered > 80)
    w.impair(between(hosts[B], hosts[C]), delay_ns=100 * MS)
    writer.stopped = True
    go(w, 3 * S)
    w.kill(leader)
    for _ in range(200):
        go(w, 10 * MS)
        assert included(w, C), "it holds all that there is"
    assert leader_of(w, A) is not None


def test_what_compaction_hides_is_not_lag() -> None:
    w, hosts, _ = begun({A: Site(1), B: Site(1, A, max_lag_entries=400, on_lag="throttle")},
                        Environment(snapshot_bytes=100_000, keep_bytes=2000))
    clients = writers(w, hosts[A], 4)
    w.impair(between(hosts[A], hosts[B]), delay_ns=60 * MS)
    go(w, 15 * S)
    status = w.status(0)
    assert status is not None
    assert status["snapshots_made"] > 3
    assert busy(clients) == 0, "it was never more than some 50 entries behind"


def test_a_child_of_who_was_cut_is_not_excluded_while_it_holds_everything() -> None:
    w, hosts, leader = begun({A: Site(3), B: Site(1, A), C: Site(1, B, sync=True)})
    clients = [Client(w, n + 1, range(leader, leader + 1), Rng(1).split(str(n)), writes=True)
               for n in range(100)]
    run_until(w, lambda: clients[0].answered > 5)
    cut(w, between([leader], [host for host in hosts[A] if host != leader]))
    go(w, 100 * MS)
    (b,), (c,) = hosts[B], hosts[C]
    longer = domain(w, b)["mirror_end"]
    w.kill(leader)
    for client in clients:
        client.stopped = True
    run_until(w, lambda: leader_of(w, A) not in (None, leader))
    run_until(w, lambda: domain(w, b)["uplink"]["state"] == "streaming")
    go(w, S)
    assert domain(w, b)["mirror_end"] < longer
    run_until(w, lambda: included(w, C))
    w.impair(between([b], [c]), delay_ns=40 * MS)
    go(w, 3 * S)
    new = leader_of(w, A)
    assert new is not None
    before = domain(w, new)["exclusions"]
    go(w, 20 * S)
    assert domain(w, new)["exclusions"] == before


def test_who_would_be_excluded_at_once_for_its_lag_is_not_included(
        monkeypatch: pytest.MonkeyPatch) -> None:
    shape: Shape = {A: Site(1), B: Site(1, A, sync=True)}
    usual = domain_sites.tree_of

    def bounded(of: Shape) -> Tree:
        tree = usual(of)
        return Tree({id: one._replace(max_lag_ns=100 * MS, on_lag="exclude") if id == B else one
                     for id, one in tree.domains.items()}, A, lease_ns=tree.lease_ns)

    monkeypatch.setattr(domain_sites, "tree_of", bounded)
    w, hosts, _ = begun(shape)
    writer = writers(w, hosts[A], 1)[0]
    slow = w.impair(between(hosts[A], hosts[B]), delay_ns=80 * MS)      # so it is always too late
    for _ in range(2):
        before = domain(w, 0)["exclusions"] + domain(w, 0)["inclusions"]
        go(w, 20 * S)
        now = domain(w, 0)["exclusions"] + domain(w, 0)["inclusions"]
        assert now - before < 25, "now and then it is tried"
        writer.stopped = True
    w.lift(slow)
    run_until(w, lambda: included(w, B))


def test_a_long_link_that_carries_everything_is_no_reason_to_stay_excluded() -> None:
    w, hosts, _ = begun({A: Site(1), B: Site(1, A, sync=True)})
    undo = cut(w, between(hosts[A], hosts[B]))
    clients = writers(w, hosts[A], 30)
    run_until(w, lambda: not included(w, B))
    w.impair(between(hosts[A], hosts[B]), delay_ns=100 * MS)
    undo()
    before = answered(clients)
    run_until(w, lambda: included(w, B), 20 * S)
    assert answered(clients) > before + 2000, "under load, which keeps hundreds on their way"


def test_nobody_waits_for_the_lag_of_who_is_held() -> None:
    w, hosts, _ = begun({A: Site(1), B: Site(1, A, sync=True, max_lag_entries=50,
                                             on_lag="stall")})
    clients = writers(w, hosts[A], 4)
    w.impair(between(hosts[A], hosts[B]), bytes_per_s=6000)
    run_until(w, lambda: busy(clients) > 20)
    assert w.change_tree(0, lambda tree: tree.exclude(B, held=True))
    run_until(w, lambda: bool(child(w, 0, B)["held"]))
    go(w, S)
    before = busy(clients)
    go(w, 5 * S)
    assert child(w, 0, B)["lag_entries"] > 200
    assert busy(clients) == before


def test_writers_are_not_throttled_for_ever_for_who_can_not_catch_up() -> None:
    w, hosts, _ = begun({A: Site(1), B: Site(1, A, sync=True, readmit_throttle=True),
                         C: Site(1, B, sync=True, block=True)})
    clients = writers(w, hosts[A], 4)
    w.kill(hosts[C][0])                                 # so B confirms nothing
    run_until(w, lambda: busy(clients) > 100, 60 * S)
    go(w, 60 * S)
    before = busy(clients), answered(clients)
    go(w, 5 * S)
    assert busy(clients) == before[0]
    assert answered(clients) > before[1] + 500
    assert child(w, 0, B)["cannot_readmit"]


def test_a_snapshot_comes_over_a_slow_link() -> None:
    w, hosts, _ = begun({A: Site(1), B: Site(1, A)},
                        Environment(snapshot_bytes=50_000, keep_bytes=1, chunk_bytes=4000))
    clients = owners(w, hosts[A], 4)
    for client in clients:
        assert isinstance(client, Own)
        client.keys = 200
    (b,) = hosts[B]
    w.kill(b)
    run_until(w, lambda: min(client.answered for client in clients) > 300)
    for client in clients:
        client.stopped = True
    go(w, 2 * S)
    pairs, there = between(hosts[A], hosts[B]), domain(w, 0)["applied_rindex"]
    status = w.status(0)
    assert status is not None
    assert status["snapshot_bytes"] > 150_000
    w.impair(pairs, bytes_per_s=20_000)                 # a chunk takes as long as an election
    w.start(b)
    run_until(w, lambda: domain(w, b)["applied_rindex"] >= there, 40 * S)


def test_a_snapshot_that_newer_ones_replace_again_and_again_is_told_and_throttled_for() -> None:
    w, hosts, _ = begun({A: Site(1), B: Site(1, A, sync=True, readmit_throttle=True)},
                        Environment(snapshot_bytes=30_000, keep_bytes=1, chunk_bytes=4000))
    clients = owners(w, hosts[A], 4)
    pairs = between(hosts[A], hosts[B])
    undo = cut(w, pairs)
    run_until(w, lambda: not included(w, B))
    go(w, 10 * S)
    w.impair(pairs, bytes_per_s=40_000)
    before = busy(clients)
    undo()
    run_until(w, lambda: busy(clients) > before + 100, 60 * S)
    run_until(w, lambda: included(w, B) or bool(child(w, 0, B)["cannot_readmit"]), 120 * S)


def test_who_got_another_parent_learns_it_from_the_root_if_its_old_one_can_not_tell() -> None:
    w, hosts, leader = begun({A: Site(1), B: Site(1, A), C: Site(1, B)})
    writers(w, hosts[A], 1)
    cut(w, between(hosts[A], hosts[B]))
    go(w, S)
    (c,) = hosts[C]
    assert domain(w, c)["uplink"]["state"] == "streaming"       # from B, which knows nothing
    assert w.change_tree(leader, lambda tree: tree.reparent(C, A))
    run_until(w, lambda: (domain(w, c)["uplink"]["state"] == "streaming"
                          and domain(w, c)["uplink"]["node"] == leader + 1), 60 * S)


def only_ok(w: DomainWorld, of: Callable[[], int | None]) -> float:
    """Ask linearizable reads of a leader for a while; return the share that was answered."""
    host = of()
    assert host is not None
    reader = Steady(w, host, 5 * MS)
    go(w, 8 * S)
    assert of() == host
    return reader.statuses["ok"] / reader.asked


def test_a_child_that_commits_slowly_answers_reads_while_there_are_always_writes() -> None:
    w, hosts, _ = begun({A: Site(1), B: Site(3, A)})
    w.impair(between(hosts[B], hosts[B]), delay_ns=5 * MS)
    go(w, 3 * S)
    writers(w, hosts[A], 6)
    assert only_ok(w, lambda: leader_of(w, B)) > 0.9


def test_a_grandchild_s_questions_get_to_the_root_over_a_long_link() -> None:
    w, hosts, _ = begun({A: Site(1), B: Site(1, A), C: Site(1, B)})
    w.impair(between(hosts[A], hosts[B]), delay_ns=120 * MS)    # more than an election timeout
    go(w, 3 * S)
    assert only_ok(w, lambda: leader_of(w, C)) > 0.8
