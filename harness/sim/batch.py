"""Many seeds of one test, on all cores: what ``seatrial run --seeds`` does.

::

    store/<test>/<start time>-seeds/
      batch.json      what is run: file and its digest, commit, seeds, overrides
      seeds.jsonl     a line a seed, in the order in which they ended
      summary.json    at the end only: verdicts, the worst one, a digest of all digests
    store/<test>/<start time>/
      ...             a folder as any run has, for each of the first seeds that did not pass

Each worker (worker.py) does one seed after the other. A seed that does not pass is run once
more, with a folder; that this second run has the digest of the first is checked on the way. A
worker that dies costs its seed, which then counts as a failure of the harness, and is replaced.

A batch that was interrupted goes on with ``--resume``: lines are only ever appended, so what is
there is done, and what is not there is to do.
"""
from __future__ import annotations

import hashlib
import os
import re
import shlex
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from seatrial.checker import Verdict
from seatrial.checker.result import worst

from ..errors import BadInput, HarnessFailure
from ..launch import Request, plan
from ..results import VERDICTS, commit
from ..store import TIME_FORMAT, safe_name, write_whole
from .answer import Answer
from .batch_progress import BatchProgress
from .covered import Covered
from .crew import crew
from .run import replays

SUFFIX = "-seeds"
BATCH, SEEDS, SUMMARY = "batch.json", "seeds.jsonl", "summary.json"
MOST_KEPT = 10           # seeds of one verdict that get a folder
MOST_TOLD = 10           # seeds that a summary names
FIRST_SEED = 1
RANGE = re.compile(r"(\d+)(?:\.\.(\d+))?")
EXPECTED = "expected a number of seeds, or FIRST..LAST"


def seeds_of(text: str) -> range:
    """Return the seeds that ``--seeds`` names: ``N`` is 1..N."""
    found = RANGE.fullmatch(text)
    if found is None:
        raise BadInput(f"--seeds: {EXPECTED}, got {text!r}")
    first, last = (FIRST_SEED, int(found[1])) if found[2] is None else map(int, found.groups())
    if last < first:
        raise BadInput(f"--seeds: {EXPECTED} that is not empty, got {text!r}")
    return range(first, last + 1)


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch is: two with the same of all this do the same."""

    test: str
    file: str
    file_digest: str
    commit: str
    seeds: tuple[int, int]
    overrides: dict[str, Any]

    @classmethod
    def of(cls, request: Request, test: str, seeds: range) -> Batch:
        """Return the batch that a request asks for."""
        data = request.file.read_bytes()
        return cls(
            test=test, file=str(request.file.absolute()),
            file_digest=hashlib.blake2b(data, digest_size=16).hexdigest(), commit=commit(),
            seeds=(seeds[0], seeds[-1]),
            overrides={option: value for option, (_, value) in request.overrides.items()})


class Summary(msgspec.Struct, kw_only=True):
    """How a batch ended. digest: of all seeds' digests, in the order of the seeds.

    wall_ns: how long its last session took; cpu_ns: what all seeds took of a core, added up.
    covered: what the nodes came by, and what they never did.
    """

    verdict: str
    seeds: int
    verdicts: dict[str, int]
    digest: str
    events: int
    operations: int
    faults: int
    virtual_ns: int
    cpu_ns: int
    wall_ns: int
    covered: Covered


class BatchFolder:
    """Where a batch keeps what it did."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def begin(cls, store: Path, batch: Batch) -> BatchFolder:
        """Make the folder of a batch that starts now."""
        name = datetime.now(UTC).strftime(TIME_FORMAT) + SUFFIX
        path = store / safe_name(batch.test) / name
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise HarnessFailure(f"{path}: can't write to the store: {error.strerror}") from error
        write_whole(path / BATCH, pretty(batch))
        return cls(path)

    @classmethod
    def unfinished(cls, store: Path, batch: Batch) -> BatchFolder:
        """Return the newest folder of this very batch that has no summary yet."""
        told = ""
        for path in sorted(store.glob(f"{safe_name(batch.test)}/*{SUFFIX}"), reverse=True):
            if (path / SUMMARY).exists() or not (path / BATCH).exists():
                continue
            other = msgspec.json.decode((path / BATCH).read_bytes(), type=Batch)
            if other == batch:
                return cls(path)
            told = told or f"; that in {path.name} has {difference(other, batch)}"
        raise BadInput(f"--resume: nothing in {store / safe_name(batch.test)} to go on with: no "
                       f"unfinished batch of seeds {batch.seeds[0]}..{batch.seeds[1]} of this "
                       f"file at this commit{told}")

    def answers(self) -> list[Answer]:
        """Return what was done; a line that was cut short was not, and is removed."""
        path = self.path / SEEDS
        if not path.exists():
            return []
        data = path.read_bytes()
        whole = data[:data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.truncate(path, len(whole))
        return [msgspec.json.decode(line, type=Answer) for line in whole.splitlines()]

    def add(self, answer: Answer) -> None:
        """Keep one."""
        path = self.path / SEEDS
        try:
            with path.open("ab", buffering=0) as file:
                file.write(msgspec.json.encode(answer) + b"\n")
        except OSError as error:
            raise HarnessFailure(f"{path}: can't write to the store: {error.strerror}") from error

    def finish(self, summary: Summary) -> None:
        """Write how it ended; from now on it is not unfinished."""
        write_whole(self.path / SUMMARY, pretty(summary))


def difference(other: Batch, batch: Batch) -> str:
    """Return the first thing in which a batch is another one."""
    for name in ("file", "file_digest", "commit", "seeds", "overrides"):
        theirs, ours = getattr(other, name), getattr(batch, name)
        if theirs != ours:
            return f"other {name.replace('_', ' ')}: {theirs}, not {ours}"
    raise AssertionError("they are the same")


def pretty(value: Any) -> bytes:
    """Return a value as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


@dataclass(slots=True)
class Tally:
    """The answers so far."""

    answers: dict[int, Answer] = field(default_factory=dict)
    verdicts: Counter[str] = field(default_factory=Counter)
    virtual_ns: int = 0

    def add(self, answer: Answer) -> None:
        """Count one."""
        self.answers[answer.seed] = answer
        self.verdicts[answer.verdict] += 1
        self.virtual_ns += answer.virtual_ns

    def worst(self) -> Verdict:
        """Return the worst verdict."""
        return worst([VERDICTS[verdict] for verdict in self.verdicts])

    def not_passed(self) -> list[Answer]:
        """Return the answers of seeds that did not pass: the worst first, then by seed."""
        found = [a for a in self.answers.values() if VERDICTS[a.verdict] is not Verdict.PASS]
        return sorted(found, key=lambda a: (-VERDICTS[a.verdict], a.seed))

    def has_room_for(self, answer: Answer) -> bool:
        """Whether a seed that did not pass is one of the first with its verdict."""
        return self.verdicts[answer.verdict] < MOST_KEPT

    def summary(self, wall_ns: int) -> Summary:
        """Return what all of them come to."""
        answers = [self.answers[seed] for seed in sorted(self.answers)]
        total = hashlib.blake2b(digest_size=16)
        for answer in answers:
            total.update(f"{answer.seed} {answer.digest}\n".encode())
        return Summary(
            verdict=self.worst().label, seeds=len(answers), verdicts=dict(self.verdicts),
            digest=total.hexdigest(), events=sum(a.events for a in answers),
            operations=sum(a.operations.invoke for a in answers),
            faults=sum(sum(a.faults.values()) for a in answers),
            virtual_ns=self.virtual_ns, cpu_ns=sum(a.cpu_ns for a in answers),
            wall_ns=wall_ns, covered=Covered.of(a.marks for a in answers))


@dataclass(frozen=True, slots=True)
class BatchDone:
    """How a batch ended, and what a person is told of it."""

    exit_code: int
    lines: list[str]


def run_batch(request: Request, seeds: range, *, jobs: int, resume: bool = False) -> BatchDone:
    """Run all seeds; return how they ended. BadInput and HarnessFailure end it without a verdict.

    request: for the simulated world, without a seed.
    """
    chosen = plan(request.seeded(seeds[0]))
    system: Any = chosen.system
    system.prepare()
    batch = Batch.of(request, chosen.spec.name, seeds)
    folder = (BatchFolder.unfinished if resume else BatchFolder.begin)(request.store, batch)
    tally, began_ns = Tally(), time.monotonic_ns()
    for answer in folder.answers():
        tally.add(answer)
    todo = [seed for seed in seeds if seed not in tally.answers]
    answers = crew(request, todo, jobs=jobs, python_path=system.python_path(),
                   keeps=tally.has_room_for)
    with (
        closing(answers),
        BatchProgress(chosen.spec.name, len(seeds), had=len(tally.answers)) as progress,
    ):
        try:
            for answer in answers:
                folder.add(answer)
                tally.add(answer)
                progress.show(answer.seed, answer.verdict, answer.virtual_ns, tally.verdicts)
        except KeyboardInterrupt:
            raise HarnessFailure(
                f"interrupted after {len(tally.answers):,} of {len(seeds):,} seeds, which are in "
                f"{folder.path}; add --resume to go on from there") from None
    summary = tally.summary(time.monotonic_ns() - began_ns)
    folder.finish(summary)
    return BatchDone(tally.worst().exit_code, told(request, tally, summary, folder))


def told(request: Request, tally: Tally, summary: Summary, folder: BatchFolder) -> list[str]:
    """Return what a person is told at the end."""
    seeds = sorted(tally.answers)
    counts = ", ".join(f"{summary.verdicts[verdict]:,} {verdict}"
                       for verdict in VERDICTS if verdict in summary.verdicts)
    lines = [f"verdict: {summary.verdict}", f"seeds:   {seeds[0]}..{seeds[-1]}: {counts}"]
    bad = tally.not_passed()
    for answer in bad[:MOST_TOLD]:
        again = shlex.join(request.seeded(answer.seed).command)
        lines += [f"seed {answer.seed}: {answer.verdict} ({answer.summary})",
                  f"  again:  {again}"]
        if answer.folder is not None:
            lines.append(f"  report: {Path(answer.folder) / 'report.html'}")
        if VERDICTS[answer.verdict] is Verdict.VIOLATION:
            lines.append(f"  replay: {shlex.join(replays(answer, request))}")
    if len(bad) > MOST_TOLD:
        lines.append(f"and {len(bad) - MOST_TOLD} more, in {folder.path / SEEDS}")
    virtual_s, wall_s = summary.virtual_ns / 1e9, summary.wall_ns / 1e9
    return [
        *lines,
        *summary.covered.lines(),
        f"digest:  {summary.digest} (commit {commit()})",
        f"time:    {virtual_s:,.0f} virtual seconds in {wall_s:,.0f} s; a core makes "
        f"{summary.virtual_ns / max(summary.cpu_ns, 1):,.0f} of them a second; "
        f"{summary.operations:,} operations, {summary.faults:,} faults, "
        f"{summary.events:,} events",
        f"folder:  {folder.path}",
    ]
