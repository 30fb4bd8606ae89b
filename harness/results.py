"""results.json: what a run found, in a documented and stable format (docs/results.md).

Scripts read this file, so fields are only ever added; ``schema`` counts the times that a
meaning had to change. Times are ns since the start of the run. The most wanted fields come
first, so that ``head`` shows them.
"""
from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from seatrial.checker import CheckResult, Verdict
from seatrial.checker.history import NEMESIS, NONE, OK, TYPE_NAMES, History
from seatrial.checker.result import worst

from .errors import BadInput
from .fault_windows import fault_windows, hits_leader, impossible_faults
from .leadership import leadership
from .store import RunFolder

SCHEMA = 1
COMMIT = "SEATRIAL_COMMIT"       # environment variable
VERDICTS = {verdict.label: verdict for verdict in Verdict}


class Operations(msgspec.Struct, frozen=True):
    """How many client events of each type the history holds."""

    invoke: int = 0
    ok: int = 0
    fail: int = 0
    info: int = 0


class Check(msgspec.Struct, frozen=True):
    """One check's answer. ``text`` is the readable counterexample, empty when there is none."""

    verdict: str
    summary: str = ""
    evidence: dict[str, Any] = {}
    text: str = ""


class Fault(msgspec.Struct, frozen=True):
    """One fault, with the four times of its life; null where it did not happen.

    ``error``: why it did not take effect, or why its recovery could not be proved. ``grudge``:
    node -> whose packets it did not get. ``parameters``: how strong it was. ``gentle``: an
    administrator's work, which goes on from the request to the recovery.
    """

    name: str
    failure_class: str = msgspec.field(name="class", default="")
    targets: list[str] = []
    requested_ns: int | None = None
    effective_ns: int | None = None
    ended_ns: int | None = None
    recovered_ns: int | None = None
    hit_leader: bool = False
    id: str = ""
    error: str | None = None
    grudge: dict[str, list[str]] = {}
    parameters: dict[str, int] = {}
    gentle: bool = False


class Leader(msgspec.Struct, frozen=True):
    """A term and who led it, from when it was first seen. ``leader`` null: nobody could tell."""

    term: int
    leader: str | None
    since_ns: int


class Rates(msgspec.Struct, frozen=True):
    """Completed operations per second, and latencies of ok operations from their due time."""

    ok_per_s: float = 0.0
    completed_per_s: float = 0.0
    latency_p50_ns: int | None = None
    latency_p99_ns: int | None = None
    latency_max_ns: int | None = None


class Results(msgspec.Struct, kw_only=True):
    """One run's results."""

    verdict: str
    test: str
    world: str
    seed: int
    commit: str
    operations: Operations
    checks: dict[str, Check]
    faults: list[Fault]
    coverage: dict[str, Any]
    error: str | None = None
    summary: str = ""
    started: str = ""
    duration_ns: int = 0
    nodes: list[str] = []
    impossible: dict[str, str] = {}
    leader_changes: int = 0
    leaders: list[Leader] = []
    rates: Rates = Rates()
    versions: dict[str, str] = {}
    command: list[str] = []
    trace_digest: str = ""
    events: int = 0
    wall_ns: int = 0
    environment: dict[str, Any] = {}
    schema: int = SCHEMA


def judged(checks: Sequence[CheckResult], error: str | None = None) -> Verdict:
    """Return a run's verdict: the worst of its checks, and a breakage of the run itself.

    A violation stays one when the run broke later: what was seen can't be unseen.
    """
    broke = [Verdict.HARNESS_FAILURE] if error else []
    return worst([one.verdict for check in checks for one in check.all()] + broke)


def build(
    history: History | None, checks: Sequence[CheckResult], *, test: str, world: str, seed: int,
    nodes: Sequence[str], started: str = "", command: Sequence[str] = (),
    system_versions: Mapping[str, str] | None = None, error: str | None = None,
) -> Results:
    """Put a run's results together. ``history`` is None when the run broke before its first event.

    started: ISO 8601, UTC. command: what runs this test again, word by word. error: the line
    that says how the run itself broke.
    """
    checks = [one for check in checks for one in check.all()]
    verdict = judged(checks, error)
    results = Results(
        verdict=verdict.label, test=test, world=world, seed=seed, commit=commit(),
        operations=Operations(), checks={check.name: _check(check) for check in checks},
        faults=[], coverage=_coverage(checks), error=error, started=started,
        summary=summary_of(checks, verdict) or error or "",
        nodes=list(nodes), versions=versions() | dict(system_versions or {}),
        command=list(command),
    )
    if history is not None:
        _describe(results, history, nodes)
    return results


def summary_of(checks: Sequence[CheckResult], verdict: Verdict) -> str:
    """Return what the first check with the run's verdict says; nothing for a pass."""
    for check in checks:
        if check.verdict is verdict and verdict is not Verdict.PASS:
            named = check.name in check.summary
            return check.summary if named else f"{check.name}: {check.summary}"
    return ""


def _check(check: CheckResult) -> Check:
    return Check(check.verdict.label, check.summary, check.evidence, check.text)


def _coverage(checks: Sequence[CheckResult]) -> dict[str, Any]:
    """Return the table of the coverage check: requirement -> needed, got, met."""
    tables = [check.evidence.get("requirements", {}) for check in checks
              if check.name == "coverage"]
    return dict(tables[0]) if tables else {}


def _describe(results: Results, history: History, nodes: Sequence[str]) -> None:
    """Fill in what the history tells."""
    leaders = leadership(history, nodes)
    results.operations = operations(history)
    results.duration_ns = int(history.time.max(initial=0))
    results.leader_changes = leaders.changes
    results.leaders = [Leader(reign.term, reign.leader, reign.since_ns)
                       for reign in leaders.reigns]
    results.faults = [
        Fault(fault.name, fault.failure_class, list(fault.targets), fault.requested_ns,
              fault.effective_ns, fault.ended_ns, fault.recovered_ns,
              hits_leader(fault, leaders, nodes), fault.id, fault.error,
              {node: sorted(dropped) for node, dropped in fault.grudge.items()},
              dict(fault.parameters), fault.gentle)
        for fault in fault_windows(history)
    ]
    results.impossible = impossible_faults(history)
    results.rates = rates(history)


def operations(history: History) -> Operations:
    """Count client events by type."""
    client = history.process != NEMESIS
    return Operations(*(
        int((client & (history.type == kind)).sum()) for kind in range(len(TYPE_NAMES))))


def rates(history: History) -> Rates:
    """Measure throughput over the time in which clients ran, and latency of ok operations."""
    invoked, completed = history.pairs
    ended = completed != NONE
    invoked, completed = invoked[ended], completed[ended]
    if not len(completed):
        return Rates()
    span_s = max(int(history.time[completed].max() - history.time[invoked].min()), 1) / 1e9
    ok = history.type[completed] == OK
    latency = (history.time[completed] - history.time[invoked])[ok]
    cut = np.percentile(latency, [50, 99]).tolist() if len(latency) else [None, None]
    return Rates(
        ok_per_s=round(float(ok.sum() / span_s), 1),
        completed_per_s=round(len(completed) / span_s, 1),
        latency_p50_ns=None if cut[0] is None else int(cut[0]),
        latency_p99_ns=None if cut[1] is None else int(cut[1]),
        latency_max_ns=int(latency.max()) if len(latency) else None,
    )


def versions() -> dict[str, str]:
    """Return the versions that decide what a run did, for results and report."""
    return {"seatrial": seatrial_version(), "python": platform.python_version(),
            "kernel": platform.release()}


def seatrial_version() -> str:
    """Return the package's version; from a source tree that isn't installed, its VERSION file."""
    try:
        return metadata.version("seatrial")
    except metadata.PackageNotFoundError:
        return (_source_tree() / "VERSION").read_text(encoding="ascii").strip()


def commit() -> str:
    """Return the git commit of the source tree (``+dirty`` when changed), else the version.

    A process that imports a build of that tree from elsewhere is told by its parent.
    """
    if COMMIT in os.environ:
        return os.environ[COMMIT]
    tree = _source_tree()
    if not (tree / ".git").exists():
        return seatrial_version()
    try:
        head = _git(tree, "rev-parse", "HEAD")
        dirty = _git(tree, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return seatrial_version()
    return f"{head}+dirty" if dirty else head


def _source_tree() -> Path:
    """Return the folder that would be the source tree's root if this is one."""
    return Path(__file__).resolve().parent.parent


def _git(tree: Path, *arguments: str) -> str:
    """Return git's answer. safe.directory: the tree may belong to another user than root."""
    return subprocess.run(
        ["git", "-c", f"safe.directory={tree}", "-C", str(tree), *arguments],
        check=True, capture_output=True, text=True, timeout=10,
    ).stdout.strip()


def write_results(folder: RunFolder, results: Results) -> Path:
    """Write results.json, whole and without secrets."""
    return folder.write_json(folder.results.name, results)


def read_results(path: Path) -> Results:
    """Read a results.json of this or an older release."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Results)
    except OSError as error:
        raise BadInput(f"{path}: can't read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise BadInput(f"{path}: expected a run's results.json: {error}") from error
    if found.schema > SCHEMA:
        raise BadInput(f"{path}: schema {found.schema} is newer than {SCHEMA}, which this "
                       "release reads")
    if found.verdict not in VERDICTS:
        raise BadInput(f"{path}: verdict {found.verdict!r}: expected one of {', '.join(VERDICTS)}")
    return found
