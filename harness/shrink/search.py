"""The search for a small test that fails as a large one does.

First cuts that know the domain: the time after the violation, operations on other keys, faults
long before; each a leap, tried from the boldest on. Then delta debugging of faults and operations,
fewer nodes, shorter times, a calmer environment, plainer names; and again, until nothing more
can be taken away, or the time is up.

Taking something away shifts all that comes after it, and a race that was lost may be won. So a
candidate is tried with several seeds, and stays with the first one that fails. That it fails with
that seed is certain: a simulated run is its seed.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from ..errors import BadInput, HarnessFailure
from ..schedule import SECOND_NS, ns, planned
from ..testfile import PlannedFault, Spec
from . import cuts
from .ddmin import ddmin
from .trial import VIOLATION, Failure, Kind, Runner, Trial

SEEDS = 20                   # how many a candidate is tried with, at most
SEEDS_OF_TIMES = 5           # the same where there are many candidates, and little to be won
LEAPS = ((100, 4), (100, SEEDS), (1 << 30, 4), (1 << 30, SEEDS))     # operations, seeds
PATIENCE_S = 0.5             # and how long; the first one is always tried
LAST_OPERATIONS = (0, 3, 10, 30, 100, 300)
LAST_FAULTS = (1, 2, 3, 4, 6, 10)
BEFORE_NS = (100_000_000, 1_000_000_000)       # how long before the violation a leader is lost
ROUNDING_NS = (100_000_000, 10_000_000, 1_000_000, 100_000, 10_000)


FINISHED = "nothing more can be taken away"


class NotReproduced(HarnessFailure):
    """The failure is not seen again."""


class TimeIsUp(Exception):
    """The budget is spent; what was found so far is the result."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a test consists of."""

    operations: int
    faults: int
    nodes: int
    seconds: float

    @classmethod
    def of(cls, spec: Spec) -> Size:
        """Measure a test with a schedule."""
        plan = planned(spec)
        return cls(len(plan.operations), len(plan.faults), spec.topology.nodes, spec.time_limit)

    def __str__(self) -> str:
        return (f"{self.operations:,} {_s('operation', self.operations)}, {self.faults} "
                f"{_s('fault', self.faults)}, {self.nodes} {_s('node', self.nodes)}, "
                f"{self.seconds:.3g} s")


def _s(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The smallest test that was found, how it fails, and what that took."""

    spec: Spec
    trial: Trial
    failure: Failure
    trials: int
    seconds: float
    end: str                     # why it ended there

    @property
    def finished(self) -> bool:
        """Whether nothing more could be taken away."""
        return self.end == FINISHED


class Shrinker:
    """Makes one failing test smaller. ``told``: hears a line about each step that worked."""

    def __init__(
        self, run: Runner, kind: Kind, *, budget_s: float = 120.0,
        told: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run = run
        self.kind = kind
        self.told = told
        self.clock = clock
        self.began = clock()
        self.budget_s = budget_s
        self.trials = 0
        self._tried = dict[bytes, int]()        # candidate -> seeds that it was tried with
        self.spec: Spec | None = None
        self.trial: Trial | None = None

    def shrink(self, spec: Spec, seen: Failure | None = None) -> Shrunk:
        """Return a smaller test.

        seen: how the run failed that this test was made from. Should the test not fail, a part
        of it may. NotReproduced: not that either, with whatever seed.
        """
        if not self._accepts(spec, "as it is") and not self._accepts_part(spec, seen):
            raise NotReproduced(
                f"{spec.name}, seed {spec.seed}: written down as a schedule of {Size.of(spec)} it "
                f"does not violate {self.kind} again, also not with {SEEDS} other seeds")
        end = FINISHED
        try:
            self._search()
        except TimeIsUp:
            end = f"the time was up (--budget {self.budget_s:g})"
        except KeyboardInterrupt:
            end = "interrupted"
        found, trial = self._now()
        failure = trial.failure(self.kind)
        assert failure is not None
        return Shrunk(found, trial, failure, self.trials, self.clock() - self.began, end)

    def _accepts_part(self, spec: Spec, seen: Failure | None) -> bool:
        """Leap from a test that does not fail, as if it did."""
        if seen is None:
            return False
        self.spec, self.trial = spec, Trial(spec.seed or 0, VIOLATION, "", (seen,))
        try:
            return any(self._first(self._leaps(operations), "a part of it", most=few)
                       for operations, few in LEAPS)
        except TimeIsUp:
            return False

    def _now(self) -> tuple[Spec, Trial]:
        assert self.spec is not None
        assert self.trial is not None
        return self.spec, self.trial

    @property
    def _best(self) -> Spec:
        return self._now()[0]

    # ---- one candidate

    def _accepts(self, candidate: Spec, step: str, *, most: int = SEEDS) -> bool:
        """Try a candidate with some seeds; from now on it is the test, if it fails."""
        key = fingerprint(candidate)
        begin = self._tried.get(key, 0)
        self._tried[key] = max(most, begin)
        began = self.clock()
        for number, seed in enumerate(seeds(candidate.seed or 0, most)[begin:]):
            now = self.clock()
            if self.spec is not None and now - self.began > self.budget_s:
                raise TimeIsUp
            if number and now - began > PATIENCE_S and self.spec is not None:
                return False
            self.trials += 1
            try:
                trial = self.run(candidate, seed)
            except BadInput:
                return False
            if trial.failure(self.kind) is not None:
                self._take(candidate.model_copy(update={"seed": seed}), trial, step)
                return True
        return False

    def _take(self, spec: Spec, trial: Trial, step: str) -> None:
        before = None if self.spec is None else Size.of(self.spec)
        self.spec, self.trial = spec, trial
        if Size.of(spec) != before:
            self.told(f"{self.clock() - self.began:6.1f} s  {self.trials:5d} trials  "
                      f"{Size.of(spec)}  ({step})")

    def _first(self, candidates: Iterable[Spec], step: str, *, most: int = SEEDS) -> bool:
        """Take the first candidate that fails."""
        return any(self._accepts(candidate, step, most=most) for candidate in candidates)

    # ---- the way

    def _search(self) -> None:
        while True:
            before = self._best
            self._end_at_the_violation()
            self._leap()
            self._delta_debug()
            self._fewer_nodes()
            self._shorter()
            self._calmer()
            self._delta_debug()
            self._fewer_targets()
            if self._best == before:
                break
        self._plainer()

    def _failure(self) -> Failure:
        failure = self._now()[1].failure(self.kind)
        assert failure is not None
        return failure

    def _end_at_the_violation(self) -> None:
        """What comes after the violation has no part in it."""
        while True:
            at_ns = self._failure().at_ns
            if at_ns is None or not self._accepts(cuts.ended(self._best, at_ns), "end"):
                return

    def _leap(self) -> None:
        """Keep what the violation is about and what happened last; the least of it first. There
        are many ways to leap, so the cheap ones come first, and with few seeds."""
        for operations, few in LEAPS:
            while self._first(self._leaps(operations), "what it is about", most=few):
                self._end_at_the_violation()

    def _leaps(self, most: int) -> Iterator[Spec]:
        spec = self._best
        wholes = len(planned(spec).operations), len(planned(spec).faults)
        choices = [(boldness + other, operations, faults)
                   for boldness, operations in enumerate(self._guilty_operations())
                   for other, faults in enumerate(self._few_faults())]
        for _, operations, faults in sorted(choices, key=lambda choice: choice[0]):
            fewer = len(operations) < wholes[0] or len(faults) < wholes[1]
            if fewer and len(operations) <= most:
                chosen = cuts.replaced(spec, faults=faults, operations=[
                    planned(spec).operations[i] for i in operations])
                yield cuts.begun_later(chosen)

    def _few_faults(self) -> Iterator[list[PlannedFault]]:
        """Yield faults that may be all it takes: none, a leader lost shortly before, the last."""
        faults = sorted(planned(self._best).faults, key=lambda fault: fault.at)
        yield []
        if len(faults) > 1:
            yield from self._leader_lost()
        for count in LAST_FAULTS:
            if count < len(faults):
                yield faults[len(faults) - count:]
                yield [cuts.at_the_leader(faults[len(faults) - count])]
        yield faults

    def _leader_lost(self) -> Iterator[list[PlannedFault]]:
        """Yield the plainest faults there are, at the times when they may do the most harm."""
        failure, plan = self._failure(), planned(self._best)
        last_ns = max((ns(plan.operations[i].at) for i in failure.core), default=failure.at_ns)
        for name in ("partition-leader", "kill"):
            for before_ns in BEFORE_NS if last_ns is not None else ():
                assert last_ns is not None
                at = max(last_ns - before_ns, 0) / SECOND_NS
                yield [PlannedFault(at=at, name=name)]

    def _guilty_operations(self) -> Iterator[Sequence[int]]:
        """Yield positions of operations that may be all it takes, the fewest first."""
        failure, operations = self._failure(), planned(self._best).operations
        about = [i for i, op in enumerate(operations)
                 if not failure.keys or op.key in failure.keys]
        about.sort(key=lambda i: operations[i].at)
        found: list[Sequence[int]] = [failure.core] if failure.core else []
        found += [sorted({*failure.core, *about[len(about) - count:]}) for count in LAST_OPERATIONS
                  if count < len(about) and (count or not failure.core)]
        found += [sorted(about), range(len(operations))]
        sizes = set[int]()
        for positions in found:
            if len(positions) not in sizes:
                sizes.add(len(positions))
                yield positions

    def _delta_debug(self) -> None:
        """Take away faults, then operations, then the time that nothing happens in before them."""
        step = "delta debugging"
        ddmin(planned(self._best).faults, lambda faults: self._accepts(
            cuts.replaced(self._best, faults=faults), step))
        ddmin(planned(self._best).operations, lambda operations: self._accepts(
            cuts.replaced(self._best, operations=operations), step))
        self._accepts(cuts.begun_later(self._best), "beginning")
        self._end_at_the_violation()

    def _fewer_nodes(self) -> None:
        nodes = self._best.topology.nodes
        for count in (3, 5, 7):             # a cluster of one is another system
            if count < nodes and self._first(cuts.fewer_nodes(self._best, count), "nodes"):
                return

    def _shorter(self) -> None:
        """Let less time pass between one thing and the next, the last ones first."""
        for number in range(len(cuts.moments(self._best)) - 1, 0, -1):
            if number < len(cuts.moments(self._best)):      # moments may have become one
                self._first(cuts.shorter_gap(self._best, number), "times", most=SEEDS_OF_TIMES)
        self._end_at_the_violation()

    def _calmer(self) -> None:
        """Let the environment be the default one, or as much of it as may be."""
        fields = list(self._best.sim.environment)
        if self._accepts(cuts.in_environment(self._best, ()), "environment"):
            return
        ddmin(fields, lambda left: self._accepts(
            cuts.in_environment(self._best, left), "environment"))

    def _fewer_targets(self) -> None:
        """Let each fault hit whoever it finds when it strikes, or else fewer nodes; and let there
        be no more clients and options than are of use."""
        for number in range(len(planned(self._best).faults)):
            if not self._first(cuts.unaimed(self._best, number), "targets"):
                while self._first(cuts.fewer_targets(self._best, number), "targets"):
                    pass
        self._first(cuts.fewer_clients(self._best), "clients")
        while self._first(cuts.fewer_options(self._best), "options"):
            pass

    def _plainer(self) -> None:
        """Last, what is no smaller but easier to read: round times, plain names."""
        for to_ns in ROUNDING_NS:
            if self._accepts(cuts.rounded(self._best, to_ns), "times"):
                break
        self._accepts(cuts.fault_seeds(self._best), "seeds")
        self._accepts(cuts.plain_names(self._best), "names")


def fingerprint(spec: Spec) -> bytes:
    """Return what two tests have in common that differ at most in their seeds."""
    return blake2b(spec.model_dump_json(exclude={"seed"}).encode(), digest_size=16).digest()


def seeds(first: int, most: int) -> list[int]:
    """Return the seeds that a candidate is tried with: that of the last failure, and small ones."""
    return [first, *(seed for seed in range(1, most + 1) if seed != first)][:most]
