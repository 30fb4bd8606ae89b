"""Runs schedules on etcd's Raft and on ours, and compares what every node holds.

``python -m tests.judges.etcd_raft --schedules 10000`` compares many and prints what was compared;
``--seed N`` one; ``--replay FILE`` a list of commands, as a failure prints it.
docs/judges.md tells what is compared, and where the two differ on purpose.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from .ours import FEATURES, Cluster, State
from .schedules import Schedule, draw, shrink

SOURCES = Path(__file__).parent / "etcd"
BUILD = Path(__file__).parents[2] / "build" / "judges"
NEEDED_GO = (1, 23)
COMPARED = ("gone", "up", "term", "vote", "first", "last", "sum", "snap")
SNAPSHOTS = ("compactions", "snapshots", "broken transfers")
OURS_ALONE = ("resumed transfers", "torn snapshots")
COMPARED_ALIVE = ("role", "leader")


class NoJudge(Exception):
    """etcd's Raft can't be built here; the text says why."""


def build() -> Path:
    """Build the driver (cached by Go) and return its path."""
    go = shutil.which("go")
    if go is None or os.environ.get("SEATRIAL_GO") == "none":
        raise NoJudge(f"no Go: {'.'.join(map(str, NEEDED_GO))} or newer is needed")
    version = subprocess.run([go, "env", "GOVERSION"], check=False, capture_output=True, text=True,
                             env=os.environ | {"GOTOOLCHAIN": "local"}, cwd="/").stdout.strip()
    found = re.match(r"go(\d+)\.(\d+)", version)
    if not found or (int(found[1]), int(found[2])) < NEEDED_GO:
        raise NoJudge(f"Go {version or 'of unknown version'} found, "
                      f"{'.'.join(map(str, NEEDED_GO))} or newer is needed")
    BUILD.mkdir(parents=True, exist_ok=True)
    target = BUILD / "etcd"
    made = subprocess.run([go, "build", "-o", str(target), "."], cwd=SOURCES, check=False,
                          capture_output=True, text=True,
                          env=os.environ | {"GOTOOLCHAIN": "local",
                                            "GOFLAGS": "-mod=readonly -buildvcs=false"})
    if made.returncode:
        if re.search(r"dial tcp|no such host|proxy|i/o timeout|connection refused", made.stderr):
            raise NoJudge(f"go.etcd.io/raft can't be downloaded: {made.stderr.strip()[-300:]}")
        raise AssertionError(f"the driver does not build:\n{made.stderr}")
    return target


class Judge:
    """One process of etcd's side; schedules in, what its nodes held out."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([build()], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)

    def ask(self, schedule: Schedule, verbose: bool = False) -> None:
        assert self.process.stdin is not None
        question = {"nodes": schedule.nodes, "voters": schedule.voters, "steps": schedule.steps,
                    "verbose": verbose}
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "etcd's side is gone"
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def owed(node: State, states: list[State]) -> int:
    """The commit index that a node has been told at least: that of its term's leader, if that
    could reach it before the point was taken. A leader's own is all of its; -1 for nobody's."""
    leader = node.get("leader")
    if (leader and node["term"] == states[leader - 1]["term"] and leader in node["linked"]
            and states[leader - 1].get("role") == "leader"):
        commit: int = states[leader - 1]["commit"]
        return commit if node["role"] != "leader" else 1 << 63
    return -1


def differences(ours: State, theirs: State, told: int) -> list[str]:
    """Name what one node holds otherwise here than there.

    What a node knows of the commit index beyond what it was ``told`` is what it happened to hear
    last; with equal logs any two such indexes stand for a prefix of one another.
    """
    if ours["gone"] and theirs["gone"]:
        return []       # ours isn't told any more, etcd's may still be: it was removed
    found = [key for key in COMPARED if ours[key] != theirs[key]]
    if ours["up"] and theirs["up"]:
        found += [key for key in COMPARED_ALIVE if ours[key] != theirs[key]]
        one, other = ours["commit"], theirs["commit"]
        if one != other and min(one, other) < told and not one < other == theirs["floor"]:
            found.append("commit")      # (a restarted node: etcd's remembers it, ours learns it)
        if one == other and ours["held"] != theirs["held"]:
            found.append("held")
        # Ours goes by a configuration from its append on, etcd's from its commit on.
        if ours["conf_index"] <= theirs["commit"] and ours["conf"] != theirs["conf"]:
            found.append("conf")
    return found


class Comparison:
    """Compares schedules and counts what was compared."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.counts: Counter[str] = Counter()

    def run(self, schedule: Schedule, *, verbose: bool = False, asked: bool = False) -> str:
        """Return the first difference, or nothing."""
        if not asked:
            self.judge.ask(schedule, verbose)
        cluster = Cluster(schedule.nodes, schedule.voters)
        points: list[tuple[int, list[State]]] = []
        problem = ""
        for at, step in enumerate(schedule.steps):
            try:
                cluster.do(step)
            except Exception as error:
                if verbose:
                    raise
                problem = f"step {at + 1}, {step!r}: ours fails: {type(error).__name__}: {error}"
                break
            if cluster.quiescent:
                points.append((at, cluster.states(verbose)))
        answer = self.judge.answer()
        for (at, ours), theirs in zip(points, answer["points"] or [], strict=False):
            for node, (one, other) in enumerate(zip(ours, theirs, strict=True), 1):
                told = owed(one, ours)
                self.counts["states"] += 1
                self.counts["commit indexes"] += told >= 0
                self.counts["configurations"] += one.get("conf_index", 1 << 63) \
                    <= other["commit"] if other["up"] else 0
                keys = differences(one, other, told)
                if keys:
                    return (f"step {at + 1}, {schedule.steps[at]!r}: node {node}: "
                            + ", ".join(f"{key} ours {one.get(key)} etcd's {other.get(key)}"
                                        for key in keys)
                            + (f"\n  ours   {one}\n  etcd's {other}" if verbose else ""))
        if problem or answer.get("error"):
            return problem or f"etcd's fails: {answer['error']}"
        assert len(points) == len(answer["points"] or []), "not as many quiescent points"
        cluster.finish()
        self.counts["schedules"] += 1
        self.counts["steps"] += len(schedule.steps)
        self.counts["quiescent points"] += len(points)
        self.counts["elections"] += len({(s["term"], s["leader"]) for _, states in points
                                         for s in states if s.get("role") == "leader"})
        self.counts["conflicts"] += cluster.counters.get("conflicts", 0)
        for name in ("changes", "transfers", *SNAPSHOTS):
            self.counts[name] += answer["counters"].get(name, 0)
        for name in OURS_ALONE:
            self.counts[name] += cluster.counters.get(name, 0)
        for name in SNAPSHOTS:
            here, there = cluster.counters.get(name, 0), answer["counters"].get(name, 0)
            if here != there:
                return f"{name}: ours {here} etcd's {there}"
        return ""

    def summary(self) -> str:
        return ", ".join(f"{count} {what}" for what, count in self.counts.items())

    def never(self, features: frozenset[str]) -> list[str]:
        """Name what was not compared at all, of what our core can do."""
        wanted = ["quiescent points", "elections", "conflicts"]
        wanted += [name for feature, names in (("transfer", ["transfers"]), ("conf", ["changes"]),
                                               ("snapshot", [*SNAPSHOTS, *OURS_ALONE]))
                   if feature in features for name in names]
        return [name for name in wanted if not self.counts[name]]

    def smallest(self, schedule: Schedule) -> Schedule:
        return shrink(schedule, lambda fewer: bool(self.run(fewer)))


def report(schedule: Schedule, problem: str) -> str:
    """What a failure prints: replayable as it stands."""
    return "\n".join([f"# {line}" for line in problem.splitlines()]
                     + [f"nodes {schedule.nodes} voters {schedule.voters}", *schedule.steps])


def read(text: str) -> Schedule:
    """Read what ``report`` printed."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    _, nodes, _, voters = lines[0].split()
    return Schedule(int(nodes), int(voters), lines[1:])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.judges.etcd_raft",
                                     description="compare our Raft with etcd's")
    parser.add_argument("--schedules", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=200, help="at least so many in each")
    parser.add_argument("--seed", type=int, default=1, help="of the first schedule")
    parser.add_argument("--replay", type=Path, help="a file of commands")
    options = parser.parse_args(arguments)
    try:
        judge = Judge()
    except NoJudge as error:
        print(error, file=sys.stderr)
        return 255
    with judge:
        comparison = Comparison(judge)
        if options.replay:
            problem = comparison.run(read(options.replay.read_text()), verbose=True)
            print(problem or "no difference")
            return 1 if problem else 0
        began = time.monotonic()
        for seed in range(options.seed, options.seed + options.schedules):
            schedule = draw(seed, length=options.steps, features=FEATURES)
            problem = comparison.run(schedule)
            if problem:
                print(f"seed {seed}: {problem}", file=sys.stderr)
                small = comparison.smallest(schedule)
                print(report(small, comparison.run(small)))
                return 1
        rate = options.schedules / (time.monotonic() - began)
        print(f"{comparison.summary()}; {rate:.0f} schedules a second")
        if comparison.never(FEATURES):
            print(f"never compared: {', '.join(comparison.never(FEATURES))}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
