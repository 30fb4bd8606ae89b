"""Session guarantees of reads and writes of single keys, and causal consistency.

(Terry et al., Session Guarantees for Weakly Consistent Replicated Data, PDIS'94; Brzezinski,
Sobaniec & Wawrzyniak, From Session Causality to Causal Consistency, PDP'04: the four together are
causal consistency; Biswas & Enea, On the Complexity of Checking Transactional Consistency,
OOPSLA'19: what causal consistency implies for the order of writes.)

Each read r sees a set of writes, the one whose value it returned among them, and of its key that
one is the newest in one order of all writes, the same for everybody. A guarantee says what the set
must hold; it is broken when no order of the writes fits the smallest sets that do:

====================== ============================================================================
read-your-writes       what r's session had written before
monotonic-reads        what r's session had read before
monotonic-writes       that, and with each write all that its session had written before it, which
                       stand in this order
writes-follow-reads    what r's session had read before, and with each write all that its session
                       had read before it, which stand before that
causal                 all that comes before r by any chain of sessions and reads; what comes before
                       a write so stands before it
====================== ============================================================================

In all of them what one session wrote to one key stands in the session's order. A single read
can't show that writes of several keys were seen in the wrong order, so the third and the fourth
speak of sessions whose reads are monotonic; where these are not, they are undecided. Whatever
breaks one of the four breaks causal, and what breaks only two of them together breaks causal alone.

The sets need not be listed: of what one session wrote to a key the last counts, the
others stand before it. Vector clocks tell which (transactions/clocks.pyx); each write that r must
see stands before the one that it returned, and a cycle of such steps is a violation.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .accesses import INITIAL, NOBODY, SEVERAL, Accesses, accesses_of, failed_writers
from .history import INT64_MAX, NONE, History, Ints
from .operations import show
from .result import CheckResult, Verdict
from .transactions.clocks import Clocks, Cyclic, Writers
from .transactions.drawing import draw
from .transactions.findings import Anomaly
from .transactions.graph import CAUSAL, PROCESS, WR, WW, Graph
from .transactions.limits import Limits, OutOfLimits

NAME = "session-guarantees"
CAUSAL_NAME = "causal"
READS_AT_ONCE = 1 << 16
EDGES_A_SECOND = 50_000_000         # that a search for a cycle looks at
MOST_SHOWN = 5
ANY = CAUSAL | WW | WR | PROCESS

Edges = tuple[Ints, Ints, int]          # from, to, kind


@dataclass(slots=True)
class Demands:
    """What a guarantee demands of the order of writes.

    edges: accesses that come before others. seen, shown: a write that must be seen, by a read that
    shows another; through: the read by which its session knows of it, or NONE.
    """

    edges: list[Edges] = field(default_factory=list)
    seen: list[Ints] = field(default_factory=list)
    shown: list[Ints] = field(default_factory=list)
    through: list[Ints] = field(default_factory=list)

    def must_see(self, reads: Ints, writes: Ints, writer: Ints, through: Ints | None = None
                 ) -> None:
        """Add that these reads must see these writes, where they don't show them."""
        through = np.full(len(reads), NONE) if through is None else through
        differ = (writes >= 0) & (writes != writer[reads])
        self.seen.append(writes[differ])
        self.shown.append(reads[differ])
        self.through.append(through[differ])


class _Check:
    """The accesses of one history, and what each guarantee demands of them."""

    def __init__(self, accesses: Accesses, limits: Limits) -> None:
        self.accesses, self.limits = accesses, limits
        self.reads = np.flatnonzero(~accesses.write & (accesses.writer >= INITIAL))
        self.writer = accesses.writer
        known = np.zeros(len(accesses), dtype=bool)
        known[self.reads] = True
        self.known = known
        self.wrote = accesses.write & accesses.ends
        self.own_writes = accesses.last_before(self.wrote, same_key=True)

    def read_your_writes(self) -> Demands:
        demands = Demands([self._versions()])
        demands.must_see(self.reads, self.own_writes[self.reads], self.writer)
        return demands

    def monotonic_reads(self) -> Demands:
        demands = Demands([self._versions()])
        before = self.accesses.last_before(self.known, same_key=True)[self.reads]
        there = before != NONE
        reads, before = self.reads[there], before[there]
        demands.must_see(reads, self.writer[before], self.writer, before)
        return demands

    def monotonic_writes(self) -> Demands:
        before = self.accesses.last_before(self.wrote)
        session = self._edges(before, np.flatnonzero(self.accesses.write), PROCESS)
        demands = Demands([session])
        self._causes(demands, [session, self._reads_in_order(), self._wrote()])
        return demands

    def writes_follow_reads(self) -> Demands:
        """A set is what the reads saw that come before r: sessions pass on only what they read."""
        writes = np.flatnonzero(self.accesses.write)
        known_then = self.accesses.last_before(self.known)
        demands = Demands([self._versions(), self._reads_in_order(), self._wrote(),
                           self._edges(known_then, writes, PROCESS)])
        reads = self.reads[self.writer[self.reads] >= 0]
        passed = np.full(len(self.accesses), NONE)
        passed[reads] = known_then[self.writer[reads]]
        clocks = self._clocks([self._reads_in_order(), self._edges(passed, reads, WR)])
        if clocks is not None:
            for readers, others in self._overtaken(clocks, reads, np.full(len(self.reads),
                                                                          INITIAL)):
                demands.must_see(readers, self.writer[others], self.writer, others)
        return demands

    def causal(self) -> Demands:
        before = self.accesses.last_before(self.accesses.ends)
        edges = [self._edges(before, np.arange(len(before)), PROCESS), self._wrote()]
        demands = Demands(list(edges))
        self._causes(demands, edges)
        return demands

    def _causes(self, demands: Demands, edges: Sequence[Edges]) -> None:
        """A read must see each write that comes before it by these edges."""
        clocks = self._clocks(edges)
        if clocks is not None:
            for readers, others in self._overtaken(clocks, np.flatnonzero(self.accesses.write),
                                                   self.writer[self.reads]):
                demands.must_see(readers, others, self.writer)

    def _clocks(self, edges: Sequence[Edges]) -> Clocks | None:
        """None: something comes before itself, and that cycle is among the demands anyhow."""
        self.limits.look()
        if any((sources == targets).any() for sources, targets, _ in edges):
            return None
        try:
            return Clocks(_graph(len(self.accesses), edges), ANY, PROCESS, self.limits.memory())
        except Cyclic:
            return None
        except MemoryError:
            raise OutOfLimits("memory") from None

    def _overtaken(self, clocks: Clocks, there: Ints, writer: Ints) -> Any:
        """Yield reads, and of the accesses ``there`` the last of each chain that come before."""
        key = self.accesses.key.astype(np.int32)
        found = Writers(clocks, len(self.accesses.operations.keys), key[there], there.astype(
            np.int32), np.zeros(len(there), dtype=np.int64))
        for first in range(0, len(self.reads), READS_AT_ONCE):
            self.limits.look()
            part = slice(first, first + READS_AT_ONCE)
            reads = self.reads[part]
            at, other = found.overtaken(reads.astype(np.int32), key[reads], writer[part].astype(
                np.int32), np.zeros(len(reads), dtype=np.int64))
            yield reads[at], other.astype(np.int64)

    def _versions(self) -> Edges:
        """What one session wrote to one key, in its order."""
        return self._edges(self.own_writes, np.flatnonzero(self.accesses.write), WW)

    def _reads_in_order(self) -> Edges:
        return self._edges(self.accesses.last_before(self.known), self.reads, PROCESS)

    def _wrote(self) -> Edges:
        """Each read comes after the write that it shows."""
        return self._edges(self.writer, self.reads, WR)

    @staticmethod
    def _edges(before: Ints, nodes: Ints, kind: int) -> Edges:
        nodes = nodes[before[nodes] >= 0]
        return before[nodes], nodes, kind

    def anomalies(self, demands: Demands) -> list[Anomaly]:
        """Return reads of the initial value that should have shown more, else a shortest cycle."""
        seen, shown, through = (np.concatenate(column or [np.zeros(0, dtype=np.int64)])
                                for column in (demands.seen, demands.shown, demands.through))
        writer = self.writer[shown]
        nothing = np.flatnonzero(writer == INITIAL)
        if len(nothing):
            nothing = nothing[np.argsort(self._row(shown[nothing]))][:MOST_SHOWN]
            return [self._hidden(seen[i], shown[i], through[i]) for i in nothing.tolist()]
        edges = [*demands.edges, (seen, writer, CAUSAL)]
        graph = _graph(len(self.accesses), edges)
        base = len(graph.kinds) - len(seen)
        for first in (CAUSAL, WR):
            if not (graph.kinds & first).any():
                continue
            try:
                cycle = graph.cycle(first, ANY, budget=int(
                    self.limits.seconds() * EDGES_A_SECOND))
            except TimeoutError:
                raise OutOfLimits("time") from None
            if cycle is not None:
                return [self._cycle(graph, cycle, shown, through, base)]
        return []

    def _row(self, which: Ints) -> Ints:
        return self.accesses.operations.row[self.accesses.op[which]]

    def _hidden(self, seen: int, read: int, through: int) -> Anomaly:
        accesses = self.accesses
        witnesses = [] if through == NONE else [accesses.transaction(through)]
        return Anomaly(f"the second read {accesses.key_name(read)} = {show(accesses.shown(read))}, "
                       "although it must see what the first had written",
                       [accesses.transaction(seen), accesses.transaction(read)], (), witnesses)

    def _cycle(self, graph: Graph, cycle: list[int], shown: Ints, through: Ints, base: int
               ) -> Anomaly:
        accesses = self.accesses
        steps, witnesses = [], []
        for edge in cycle:
            a, b = int(graph.sources[edge]), int(graph.targets[edge])
            key = accesses.key_name(a)
            kind = int(graph.kinds[edge])
            if kind == CAUSAL:
                read, known = int(shown[edge - base]), int(through[edge - base])
                witnesses += [i for i in (known, read) if i != NONE]
                steps.append(f"older: the read of row {self._row(np.array(read))} must see {key} = "
                             f"{show(accesses.shown(a))}, and showed {show(accesses.shown(b))}")
            elif kind == WR:
                steps.append(f"wr: wrote {key} = {show(accesses.shown(a))}, which the other read")
            else:
                steps.append("session: the same process did it later")
        guilty = [accesses.transaction(int(graph.sources[edge])) for edge in cycle]
        drawn = {transaction.number for transaction in guilty}
        more = {t.number: t for t in map(accesses.transaction, dict.fromkeys(witnesses))
                if t.number not in drawn}
        return Anomaly("each comes before the next, and the last before the first", guilty, steps,
                       list(more.values()))


GUARANTEES: Mapping[str, Callable[[_Check], Demands]] = {
    "read-your-writes": _Check.read_your_writes,
    "monotonic-reads": _Check.monotonic_reads,
    "monotonic-writes": _Check.monotonic_writes,
    "writes-follow-reads": _Check.writes_follow_reads,
    CAUSAL_NAME: _Check.causal,
}
NEED_MONOTONIC_READS = ("monotonic-writes", "writes-follow-reads")


def check_session_guarantees(
    history: History, *, initial: Any = None, time_limit_s: float = 60.0,
    memory_limit_bytes: int = 1 << 30, name: str = NAME,
) -> CheckResult:
    """Judge each guarantee, and causal consistency; a result of its own for each.

    The result itself tells what was read that nobody wrote, or that failed. initial: every key's
    first value. Operations: read, write, delete, cas (get, put).
    """
    limits = Limits(time_limit_s, memory_limit_bytes)
    accesses = accesses_of(history, initial=initial)
    check = _Check(accesses, limits)
    overview = _overview(history, check, name)
    left_out = int((accesses.writer == SEVERAL).sum())
    causal = _judge(check, CAUSAL_NAME, left_out)
    broken = set[str]()
    for guarantee in GUARANTEES:
        if guarantee == CAUSAL_NAME:
            result = causal
        elif "anomalies" in causal.evidence and not causal.evidence["anomalies"]:
            result = replace(causal, name=guarantee)        # it implies the others
        elif guarantee in NEED_MONOTONIC_READS and "monotonic-reads" in broken:
            result = CheckResult(guarantee, Verdict.INCONCLUSIVE, "undecided: monotonic-reads is "
                                 "broken, and what sessions see can't be told without")
        else:
            result = _judge(check, guarantee, left_out)
        if result.verdict is Verdict.VIOLATION:
            broken.add(guarantee)
        overview.also.append(result)
    return overview


def _judge(check: _Check, guarantee: str, left_out: int) -> CheckResult:
    """One guarantee's verdict."""
    began = time.monotonic()
    evidence: dict[str, Any] = {"reads": len(check.reads), "left_out": left_out}
    if not len(check.reads):
        return CheckResult(guarantee, Verdict.INCONCLUSIVE if left_out else Verdict.NO_COVERAGE,
                           "no read shows whose value it saw", evidence=evidence)
    try:
        anomalies = check.anomalies(GUARANTEES[guarantee](check))
    except OutOfLimits as end:
        return CheckResult(guarantee, Verdict.INCONCLUSIVE, f"undecided: out of {end.what}",
                           evidence=evidence)
    evidence["engines"] = {"cycles": {"elapsed_s": round(time.monotonic() - began, 6)}}
    evidence["anomalies"] = [anomaly.evidence() for anomaly in anomalies]
    if anomalies:
        first = anomalies[0]
        rows = ", ".join(str(t.invoked) for t in (*first.guilty, *first.witnesses))
        return CheckResult(guarantee, Verdict.VIOLATION, f"no order of the writes fits the "
                           f"operations of rows {rows}", draw({guarantee: anomalies}), evidence)
    if left_out:
        return CheckResult(guarantee, Verdict.INCONCLUSIVE, f"{len(check.reads):,} reads fit; "
                           f"{left_out:,} are undecided: several wrote what they saw",
                           evidence=evidence)
    return CheckResult(guarantee, Verdict.PASS, f"{len(check.reads):,} reads fit one order of the "
                       "writes", evidence=evidence)


def _overview(history: History, check: _Check, name: str) -> CheckResult:
    """What was judged; and reads of values that nobody wrote."""
    accesses = check.accesses
    bad = np.flatnonzero(accesses.writer == NOBODY)
    bad = bad[np.argsort(check._row(bad))]
    several = np.unique(accesses.key[accesses.writer == SEVERAL]).tolist()
    reads = int((~accesses.write).sum())
    evidence: dict[str, Any] = {
        "sessions": len(np.unique(accesses.session)), "keys": len(np.unique(accesses.key)),
        "reads": reads, "writes": len(accesses) - reads, "bad_reads": len(bad), "examples": [],
        "undecided_keys": [accesses.key_name(int(np.flatnonzero(accesses.key == key)[0]))
                           for key in several[:MOST_SHOWN]]}
    size = f"{reads:,} reads and {len(accesses) - reads:,} writes"
    if not reads:
        return CheckResult(name, Verdict.NO_COVERAGE, f"{size}: nobody read", evidence=evidence)
    if not len(bad):
        also = f"; keys undecided in part, where several wrote one value: {len(several):,}"
        return CheckResult(name, Verdict.PASS, size + (also if several else ""),
                           evidence=evidence)
    shown = bad[:MOST_SHOWN].tolist()
    failed = failed_writers(history, accesses, shown)
    lines = []
    for i in shown:
        read = accesses.transaction(i)
        said = (f"which the write of row {failed[i]} wrote, that failed" if i in failed
                else "which nobody wrote")
        end = read.returned if read.returned != INT64_MAX else "?"
        lines.append(f"{'aborted' if i in failed else 'unwritten'} read: p{read.process} read "
                     f"{accesses.key_name(i)} = {show(accesses.shown(i))} "
                     f"(rows {read.invoked}-{end}), {said}")
        evidence["examples"].append({"why": lines[-1], "operations": [read.evidence()],
                                     "failed_row": failed.get(i)})
    more = f" ({len(bad):,} in all)" if len(bad) > 1 else ""
    return CheckResult(name, Verdict.VIOLATION, lines[0] + more, "\n".join(lines), evidence)


def _graph(n: int, edges: Sequence[Edges]) -> Graph:
    kinds = [np.full(len(sources), kind, dtype=np.uint8) for sources, _, kind in edges]
    return Graph(n, np.concatenate([one[0] for one in edges]),
                 np.concatenate([one[1] for one in edges]), np.concatenate(kinds))
