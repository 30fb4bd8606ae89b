"""A recorded run once more: in simulation byte for byte, on real hosts as often as one likes.

In the simulated world the digest covers everything that happened, so the same digest means the
same run. On another commit it may differ for good reasons, and proves nothing then; the verdict
still counts.

On real hosts nothing repeats itself. A schedule is tried several times in one lab, with its times
stretched, since real hosts detect and elect more slowly and a fault is proved before it counts.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from .errors import BadInput
from .hosts.state import require_root
from .launch import LOCAL, Done, Plan, Request, hosts_for, plan, plan_of, prepare
from .recorded import Recorded
from .results import commit, read_results
from .shrink import cuts
from .shrink.save import as_file
from .shrink.work import not_on_local
from .sim.simulation import Outcome, Simulation
from .store import RunFolder, Store
from .testfile import Spec

TRIES = "tries.json"
VIOLATION = "violation"
ONLY_SIMULATED = ("invariants", "liveness")
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Replayed:
    """A run and what it was compared with. problem: in what it differs, if it does."""

    outcome: Outcome
    lines: tuple[str, ...]
    problem: str | None


def replay(run: Recorded, chosen: Plan) -> Replayed:
    """Run it again in the simulated world, and compare."""
    outcome = Simulation(chosen).run()
    lines = [f"verdict: {outcome.verdict.label}"
             + (f" ({outcome.summary})" if outcome.summary else ""),
             f"digest:  {outcome.digest} (commit {commit()})"]
    differs = list(_differences(run, outcome))
    elsewhere = run.commit is not None and run.commit != commit()
    if elsewhere:
        lines.append(f"commit:  recorded was {run.commit}, another one: "
                     + ("nothing follows from another digest" if differs else
                        "and yet it is the same"))
    if run.digest is None and run.verdict is None:
        lines.append("nothing was recorded to compare with (--digest)")
    elif not differs:
        lines.append("the same" + (", byte for byte" if run.digest else ""))
    return Replayed(outcome, tuple(lines), f"{run.name}: {'; '.join(differs)}" if differs else None)


def _differences(run: Recorded, outcome: Outcome) -> Iterator[str]:
    if run.verdict not in (None, outcome.verdict.label):
        yield f"the verdict was {run.verdict}, and is {outcome.verdict.label}"
    if run.digest not in (None, outcome.digest):
        yield f"the digest was {run.digest}, and is {outcome.digest}"


# ---- on real hosts


class Try(msgspec.Struct):
    """One try. reproduced: the check that it is about was violated again."""

    verdict: str
    summary: str
    reproduced: bool
    interrupted: bool
    folder: str


class Tries(msgspec.Struct):
    """tries.json: what became of a schedule on real hosts.

    check: the violated check of the simulated run; empty: any violation counts.
    """

    test: str
    reproduced: int
    tries: int
    check: str
    stretch: float
    world: str
    commit: str
    started: str
    impossible: list[str]
    runs: list[Try]


def try_locally(run: Recorded, store: Path, *, tries: int, stretch: float, lab: str | None,
                check: str, say: Say) -> tuple[Tries, RunFolder]:
    """Run a schedule several times on real hosts; return how often it failed there, too."""
    spec = plan_of(run.document, Request(run.path, store, LOCAL, lab=lab)).spec
    if spec.schedule is None:
        raise BadInput(f"{run.path}: has no schedule; expected a test file that 'seatrial shrink' "
                       "made, or one with a section schedule")
    require_root()
    folder = Store(store).begin(f"{spec.name}-tries")
    file = folder.write("test.yml", as_file(stretched(spec, stretch)))
    chosen = plan(Request(file, store, LOCAL, lab=lab))
    result = Tries(spec.name, 0, 0, check, stretch, LOCAL, commit(),
                   datetime.now(UTC).isoformat(), not_on_local(spec), [])
    for name in result.impossible:
        say(f"{name}: does not exist on local hosts, and is left out here")
    prepare(chosen)
    with hosts_for(chosen) as run_once:
        while result.tries < tries and not (result.runs and result.runs[-1].interrupted):
            attempt = judged(run_once(), check)
            result.runs.append(attempt)
            result.tries += 1
            result.reproduced += attempt.reproduced
            folder.write_json(TRIES, result)
            say(f"try {result.tries} of {tries}: {attempt.verdict}"
                + (f" ({attempt.summary})" if attempt.summary else ""))
    return result, folder


def judged(done: Done, check: str) -> Try:
    """Return what one run on real hosts showed."""
    results = read_results(RunFolder(done.folder).results)
    violated = [name for name, one in results.checks.items() if one.verdict == VIOLATION]
    return Try(done.verdict, done.summary, check in violated if check else bool(violated),
               "interrupted" in results.checks, str(done.folder))


def check_to_see(checks: Mapping[str, str]) -> str:
    """Return the violated check of a simulated run that real hosts can violate as well.

    Empty: there is none (nobody sees all nodes of a real cluster at once), so any will do.
    """
    violated = [name for name, verdict in checks.items()
                if verdict == VIOLATION and name not in ONLY_SIMULATED]
    return violated[0] if violated else ""


def stretched(spec: Spec, factor: float) -> Spec:
    """Return a test in which everything takes so many times as long."""
    longer = cuts.retimed(spec, lambda moment: round(moment * factor))
    return longer.model_copy(update={"op_timeout": spec.op_timeout * factor})

