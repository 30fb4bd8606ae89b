"""The work of ``seatrial shrink``: reproduce, write down, make small, prove, save, tell."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from seatrial.checker import History

from ..errors import BadInput, HarnessFailure
from ..launch import SIM, Plan, Request, plan_of
from ..nemesis.catalogue import HOST_KINDS, MACHINES_ONLY
from ..recorded import Recorded
from ..results import commit
from ..schedule import from_history, planned
from ..store import safe_name, write_whole
from ..testfile import Spec
from ..yamlfile import Document
from . import simulated
from .save import as_file
from .search import Shrinker, Shrunk, Size
from .told import Told, tell
from .trial import Failure, Trial, failures

SUFFIX = "-shrunk"
NAME_MAX = 64
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Given:
    """A failing run, written down. name: what a person calls it."""

    spec: Spec
    failure: Failure
    name: str


@dataclass(frozen=True, slots=True)
class Saved:
    """What came of it."""

    given: Given
    shrunk: Shrunk
    file: Path
    told: Told


def planner(request: Request) -> Callable[[Spec, int], Plan]:
    """Return what makes plans of tests that are in no file, and have it all in them."""
    request = replace(request, overrides={})

    def made(spec: Spec, seed: int) -> Plan:
        data = spec.model_dump(mode="json", by_alias=True) | {"seed": seed}
        return plan_of(Document(spec.name, data, {}), request)

    return made


def given(run: Recorded, chosen: Plan, check: str | None) -> Given:
    """Let a run fail once more, and write down all that happens in it.

    A run of another world is taken from its history. check: the violated check to go for; by
    default the first.
    """
    if run.results is not None and run.results.world != SIM:
        return _from_other_world(run, chosen, check)
    ran = simulated.run(chosen)
    spec = simulated.written_down(ran, chosen.spec)
    trial = simulated.judged(ran, spec)
    return Given(spec, _chosen(trial.failures, check, f"{run.name}: {trial.verdict}"), run.name)


def _from_other_world(run: Recorded, chosen: Plan, check: str | None) -> Given:
    assert run.folder is not None
    assert run.results is not None
    history = History.read(run.folder.history)
    spec = from_history(history, chosen.spec, seed=run.seed)
    found = failures(run.results.checks, spec, history, simulated.began_ns(history, spec),
                     int(history.time.max(initial=0)))
    return Given(spec, _chosen(found, check, f"{run.name}: {run.results.verdict}"), run.name)


def _chosen(failures: tuple[Failure, ...], check: str | None, how: str) -> Failure:
    if not failures:
        raise BadInput(f"{how}: expected a run with a violation: there is nothing to shrink")
    if check is None:
        return failures[0]
    for failure in failures:
        if failure.kind.check == check:
            return failure
    raise BadInput(f"--check {check}: violated are only "
                   + ", ".join(failure.kind.check for failure in failures))


def shrink(given: Given, request: Request, *, budget_s: float, say: Say) -> Shrunk:
    """Make it small; return it after it failed in the same way twice more."""
    made = planner(request)

    def run(spec: Spec, seed: int) -> Trial:
        return simulated.trial(made(spec, seed))

    name = shrunk_name(given.spec.name)
    shrinker = Shrinker(run, given.failure.kind, budget_s=budget_s, told=say)
    found = shrinker.shrink(given.spec.model_copy(update={"name": name}), given.failure)
    for _ in range(2):
        again = run(found.spec, found.trial.seed)
        if again.digest != found.trial.digest:
            raise HarnessFailure(
                f"{name}, seed {found.trial.seed}: gave digest {found.trial.digest}, then "
                f"{again.digest}: a simulated run is not determined by its seed; this is a bug of "
                "ours")
    return found


def not_on_local(spec: Spec) -> list[str]:
    """Return the faults of a schedule that can't be done to hosts of the world ``local``."""
    names = dict.fromkeys(fault.name for fault in planned(spec).faults)
    return [name for name in names if name not in HOST_KINDS or name in MACHINES_ONLY]


def shrunk_name(name: str) -> str:
    """Return what the small test is called."""
    return name if name.endswith(SUFFIX) else name[:NAME_MAX - len(SUFFIX)] + SUFFIX


def save(given: Given, shrunk: Shrunk, output: Path | None, store: Path) -> Saved:
    """Write the small test as a file, and a folder of its run with report and drawing."""
    file = output or Path(f"{safe_name(shrunk.spec.name)}.yml")
    write_whole(file, as_file(shrunk.spec, remarks(given, shrunk, file)).encode())
    request = Request(file, store.absolute(), SIM)
    told = tell(lambda: plan_of(Document.load(file), request))
    if told.answer.digest != shrunk.trial.digest:
        raise HarnessFailure(f"{file}: its run gave digest {told.answer.digest}, but was saved as "
                             f"{shrunk.trial.digest}; this is a bug of ours")
    return Saved(given, shrunk, file, told)


def remarks(given: Given, shrunk: Shrunk, file: Path) -> Iterator[str]:
    """Yield what somebody must know who finds the file."""
    yield f"A failing run made small by 'seatrial shrink': {Size.of(shrunk.spec)}."
    yield f"Made from {given.name}: {Size.of(given.spec)}; commit {commit()}."
    yield f"It violates {shrunk.failure.kind}:"
    yield f"  {shrunk.failure.summary}"
    yield ""
    yield f"  seatrial run {file.name} --on sim"
    yield f"  seatrial replay {file.name} --digest {shrunk.trial.digest} --commit {commit()}"
    if not not_on_local(shrunk.spec):
        yield f"  seatrial replay {file.name} --on local --tries 10"
