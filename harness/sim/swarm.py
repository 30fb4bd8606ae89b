"""What one seed does to a simulated cluster: its surroundings, and faults beside the test's own.

Swarm testing (Groce, Zhang, Eide, Chen, Regehr, "Swarm testing", ISSTA 2012): a run that has a
bit of everything finds less than many runs that each leave most things out, because features get
into each other's way: a cluster that never gets to elect a leader never gets to lose what one
committed. So each seed draws which features are on, and how strong they are; some seeds are calm
and fast, some are hostile. Small chances of extreme values are part of it.

A test's own faults are in every mix, as often and as long as its file says, so that what its
coverage requires stays within reach; the rest comes on top, after a while without it. A test that
has no faults gets none.

A lying disk is never drawn: Raft does not promise to stand it (nemesis/sim/disks.py).
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..nemesis.catalogue import SIM_KINDS
from ..nemesis.kind import Range
from ..nemesis.packages import Course, Options, Package, campaign
from ..rng import Rng
from ..testfile import Spec
from .environment import LEASE_DRIFT_PPM, MS, PPM, US, Environment, environment

QUIET = 0.2                     # of a run's time, until further faults begin
QUIET_LATE = 0.75               # until those that take a node away for good
LATE = ("disk-flip",)
CALM, ROUGH, HOSTILE = "calm", "rough", "hostile"
MOODS = {CALM: 10, ROUGH: 65, HOSTILE: 25}
# How likely a fault is, beside the others of its group.
PATTERNS = {
    "crash-points": 3, "election-storm": 3, "election-contest": 3, "bare-majority": 4,
    "stale-leader": 3, "fresh-leader": 3, "split-vote": 2, "late-votes": 2, "lost-answers": 2,
    "old-requests": 2, "figure-eight": 2,
}
SINGLE = {
    "power-loss": 4, "reboot": 4, "kill": 2, "pause": 2, "cpu-slow": 2,
    "partition-leader": 2, "partition-one-way": 2, "partition-clients": 2, "reset": 3,
    "loss": 2, "delay": 2, "reorder": 2, "duplicate": 2, "corrupt": 5, "rate": 1,
    "disk-slow": 2, "disk-stall": 2, "disk-error": 2, "disk-full": 1, "disk-flip": 5,
    "clock-bump": 2, "clock-drift": 2,
}
# Who takes part; in a lane of their own, but not where progress is asked for in each fault's time
# in which a majority hear each other: whose majority would that be?
MEMBERS = {
    "member-add": 2, "member-remove": 2, "member-replace": 2, "member-churn": 3,
    "transfer-leader": 6, "member-race": 3,
}
NEED_SPARES = ("member-add", "member-replace")
# What exists in a tree of domains only, beside what is no group's own business.
DOMAINS = {
    "domain-cut": 4, "link-cut": 3, "domain-island": 2, "domain-kill": 3, "child-leader-kill": 3,
    "both-leaders-kill": 3, "pool-cut": 1,
}
TREE = {
    "domain-exclude": 3, "domain-mode": 3, "domain-policy": 2, "domain-reparent": 3,
    "domain-leave": 2,
}
ANYWHERE = (
    "crash-points", "power-loss", "reboot", "kill", "pause", "cpu-slow", "partition-one-way",
    "reset", "loss", "delay", "reorder", "duplicate", "corrupt", "rate", "disk-slow", "disk-stall",
)
DOMAIN_DRIFT_PPM = 150_000      # leases of domains stand clocks that are each off by 15 %
# What lets clocks jump or run wild, which leases do not stand.
NOT_WITH_LEASES = (
    "clock-bump", "clock-drift", "election-contest", "split-vote", "late-votes", "fresh-leader",
    "old-requests", "figure-eight",
)
FEATURES = PATTERNS | SINGLE | MEMBERS
FEATURES_OF_TREES = DOMAINS | TREE


class Swarm(msgspec.Struct, frozen=True):
    """What a seed drew. ``courses``: one for each lane of faults."""

    mood: str
    environment: Environment
    courses: tuple[Course, ...]

    def package(self, spec: Spec) -> Package:
        """Return the faults of this seed."""
        return campaign(self.courses, Options(targets=spec.faults.targets,
                                              time_limit_s=spec.time_limit))

    @property
    def names(self) -> list[str]:
        """All faults that may strike."""
        return list(dict.fromkeys(name for course in self.courses for name in course.names))


def draw(spec: Spec, seed: int) -> Swarm:
    """Return what this seed does with this test."""
    own = [Course(tuple(spec.faults.names), spec.faults.duration, spec.faults.gap,
                  spec.faults.jitter, parameters=spec.faults.parameters)] * spec.faults.lanes
    given = spec.sim.environment
    if not spec.sim.swarm or spec.schedule is not None:
        return Swarm(CALM, environment(given), tuple(own))
    rng = Rng(seed).split("swarm")
    mood = pick(rng.split("mood"), MOODS)
    peaceful = mood == CALM or not spec.faults.names
    several = len(spec.topology.tree().domains) > 1
    leases = given.get("leases", leased(rng.split("leases"), spec))
    lanes = [] if peaceful else domain_features(
        rng.split("features"), hostile=mood == HOSTILE) if several else features(
        rng.split("features"), hostile=mood == HOSTILE,
        without=[*(NOT_WITH_LEASES if leases else ()),
                 *(() if spec.topology.spares else NEED_SPARES),
                 *(MEMBERS if spec.coverage.min_ok_per_window else ())])
    names = [name for lane in lanes for name in lane]
    fields = surroundings(rng.split("environment"), names, spec.clients, extreme=mood == HOSTILE)
    fields |= _reads(rng.split("reads"))
    if leases:
        fields |= {"leases": True, "drift_ppm": _drift(rng.split("drift"))}
    if several:
        fields |= {"drift_ppm": min(DOMAIN_DRIFT_PPM, fields.get("drift_ppm", 0))}
    if spec.sim.op_timeout is not None:
        shortest_ms, longest_ms = (round(1000 * seconds) for seconds in spec.sim.op_timeout)
        fields["op_timeout_ns"] = wide(rng.split("op_timeout"), shortest_ms, longest_ms) * MS
    further = [further_course(rng.split(f"course {n}"), part, spec)
               for n, part in enumerate(lanes)]
    return Swarm(mood, environment(fields | given), tuple(own + further))


# ---- faults


def leased(rng: Rng, spec: Spec) -> bool:
    """Return whether leaders have leases, where the test's own faults and clocks let them."""
    drift_ppm = spec.sim.environment.get("drift_ppm", 0)
    return (chance(rng, 35) and not set(spec.faults.names) & set(NOT_WITH_LEASES)
            and drift_ppm <= LEASE_DRIFT_PPM)


def features(rng: Rng, *, hostile: bool, without: Sequence[str] = ()) -> list[list[str]]:
    """Return the names of the further faults of a seed, by lane.

    Where members change no disk is damaged for good: who could spare a majority of whom?
    """
    patterns = some(rng.split("patterns"), but(PATTERNS, without), 1 + rng.below(2 + hostile))
    single = some(rng.split("single"), but(SINGLE, without), hostile + rng.below(4))
    members: list[str] = []
    if chance(rng.split("whether members"), 50) and but(MEMBERS, without):
        members = some(rng.split("members"), but(MEMBERS, without), 1 + rng.below(2))
    late = [name for name in LATE if name in single and members in ([], ["transfer-leader"])]
    single = [name for name in single if name not in LATE]
    lanes = [patterns, single] if hostile else [patterns + single]
    return [lane for lane in (*lanes, members, late) if lane]


def domain_features(rng: Rng, *, hostile: bool) -> list[list[str]]:
    """Return the names of the further faults of a seed with several domains, by lane."""
    domains = some(rng.split("domains"), DOMAINS, 1 + rng.below(2 + hostile))
    anywhere = {name: weight for name, weight in (PATTERNS | SINGLE).items() if name in ANYWHERE}
    single = some(rng.split("single"), anywhere, hostile + rng.below(4))
    tree = some(rng.split("tree"), TREE, 1 + rng.below(2)) if chance(
        rng.split("whether tree"), 50) else []
    lanes = [domains, single] if hostile else [domains + single]
    return [lane for lane in (*lanes, tree) if lane]


def but(weights: Mapping[str, int], without: Sequence[str]) -> dict[str, int]:
    """Return the weights of the others."""
    return {name: weight for name, weight in weights.items() if name not in without}


def some(rng: Rng, weights: Mapping[str, int], count: int) -> list[str]:
    """Return so many different keys, heavy ones more often."""
    left, chosen = dict(weights), []
    for _ in range(count):
        chosen.append(pick(rng, left))
        del left[chosen[-1]]
    return chosen


def further_course(rng: Rng, names: Sequence[str], spec: Spec) -> Course:
    """Return how one lane of further faults goes on."""
    longest_ms = min(3000, int(spec.time_limit * 1000) // 12)
    hold_ms = wide(rng, min(200, longest_ms), longest_ms)
    gap_ms = max(2 * hold_ms, wide(rng, min(500, longest_ms), longest_ms))
    if PATTERNS.keys() & set(names):        # hardly anybody gets an answer while they last
        gap_ms = max(gap_ms, 2 * hold_ms + (4000 if "figure-eight" in names else 500))
    return Course(
        tuple(names), duration_s=hold_ms / 1000, gap_s=gap_ms / 1000,
        jitter=0.8, bursts=rng.choice((0.0, 0.2, 0.5)),
        quiet_s=(QUIET_LATE if set(names) <= set(LATE) else QUIET) * spec.time_limit,
        parameters={name: fixed_parameters(rng.split(name), name) for name in names})


def fixed_parameters(rng: Rng, name: str) -> dict[str, int]:
    """Return those of a fault's parameters that are the same all through a run."""
    ranges = SIM_KINDS[name].parameters
    return {parameter: ranges[parameter].draw(rng.split(parameter)) for parameter in ranges
            if parameter not in ("draws", "bit") and rng.split("fixed " + parameter).below(2)}


# ---- surroundings


def surroundings(
    rng: Rng, names: Sequence[str], clients: int, *, extreme: bool,
) -> dict[str, Any]:
    """Return the fields of an environment, those that are not as usual."""
    sizes = _sizes(rng.split("sizes"), names, clients)
    drawn = sizes | _network(rng.split("network"), names, extreme)
    drawn |= _disks(rng.split("disks"), extreme) | _clocks(rng.split("clocks"), extreme)
    if "max_batch_bytes" in sizes:      # each entry needs a round trip of its own: short ones
        drawn |= {name: drawn[name] % (300 * US) for name in (
            "latency_ns", "jitter_ns", "sync_ns", "sync_jitter_ns")}
    return drawn


def _network(rng: Rng, names: Sequence[str], extreme: bool) -> dict[str, Any]:
    latency_ns = wide(rng, 30 * US, 2 * MS) if chance(rng, 85) else wide(rng, 2 * MS, 8 * MS)
    found: dict[str, Any] = {"latency_ns": latency_ns,
                             "jitter_ns": rng.below(latency_ns + 1)}
    if chance(rng, 30):
        found |= {"tail_ppm": wide(rng, 100, 20_000), "tail_ns": wide(rng, MS, 60 * MS)}
    if chance(rng, 70 if "split-vote" in names else 30):
        found |= {"frames": True, "loss_ppm": wide(rng, 10, 10_000 if extreme else 2000),
                  "duplicate_ppm": wide(rng, 10, 100_000 if extreme else 10_000),
                  "reorder_ppm": wide(rng, 10, 20_000 if extreme else 5000)}
    elif chance(rng, 30):
        found["loss_ppm"] = wide(rng, 10, 5000 if extreme else 500)
    if chance(rng, 25):
        found["reset_ppm"] = wide(rng, 1, 500 if extreme else 50)
    if chance(rng, 10):
        found["bytes_per_s"] = wide(rng, 500_000, 20_000_000)
    return found


def _disks(rng: Rng, extreme: bool) -> dict[str, Any]:
    sync_ns = wide(rng, 20 * US, 2 * MS) if chance(rng, 85) else wide(rng, 2 * MS, 8 * MS)
    found: dict[str, Any] = {"sync_ns": sync_ns, "sync_jitter_ns": rng.below(sync_ns + 1)}
    if chance(rng, 30):
        found |= {"sync_tail_ppm": wide(rng, 100, 10_000),
                  "sync_tail_ns": wide(rng, 5 * MS, 400 * MS if extreme else 100 * MS)}
    return found


def _clocks(rng: Rng, extreme: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if chance(rng, 50):
        found["drift_ppm"] = wide(rng, 10, 200_000 if extreme else 20_000)
    if chance(rng, 25):
        found["iteration_ns"] = wide(rng, 2 * US, 200 * US)
    return found


def _drift(rng: Rng) -> int:
    """How far off clocks are where leases are to stand it."""
    return LEASE_DRIFT_PPM if chance(rng, 50) else wide(rng, 10, LEASE_DRIFT_PPM)


def _reads(rng: Rng) -> dict[str, Any]:
    return {"any_node_ppm": wide(rng, 50_000, PPM)} if chance(rng, 40) else {}


def _sizes(rng: Rng, names: Sequence[str], clients: int) -> dict[str, Any]:
    segments = [16 << 10, 64 << 10, 256 << 10, 1 << 20]
    found: dict[str, Any] = {
        "segment_bytes": 16 << 10 if "disk-full" in names else rng.choice(segments)}
    if chance(rng, 90 if "figure-eight" in names else 20):
        found["max_batch_bytes"] = wide(rng, 1, 400)
        found["max_inflight_bytes"] = wide(rng, 1, 1000)
    if chance(rng, 50 if "lost-answers" in names else 20):
        # Some clients lose theirs now and then; with far fewer, hardly anything would be done.
        found["max_sessions"] = wide(rng, max(1, clients // 2), 2 * clients)
    if chance(rng, 25):
        found["session_ttl_ns"] = wide(rng, 500, 20_000) * MS
    if chance(rng.split("snapshots"), 70):
        found["snapshot_bytes"] = wide(rng.split("snapshot_bytes"), 256, 64 << 10)
        found["keep_bytes"] = wide(rng.split("keep_bytes"), 1, 16 << 10)
        if chance(rng.split("chunks"), 80):     # the state is small: else they have but one
            found["chunk_bytes"] = wide(rng.split("chunk_bytes"), 64, 1 << 10)
    return found


# ---- draws


def chance(rng: Rng, percent: int) -> bool:
    """Return true in so many of a hundred cases."""
    return rng.below(100) < percent


def wide(rng: Rng, low: int, high: int) -> int:
    """Return a number from low to high, each order of magnitude as likely as the others."""
    return Range(low, high).draw(rng)


def pick(rng: Rng, weights: Mapping[str, int]) -> str:
    """Return one of the keys, by its weight."""
    at = rng.below(sum(weights.values()))
    for name, weight in weights.items():
        at -= weight
        if at < 0:
            return name
    raise AssertionError("weights do not add up")


__all__ = ["FEATURES", "FEATURES_OF_TREES", "Swarm", "draw"]
