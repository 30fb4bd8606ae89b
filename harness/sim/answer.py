"""What is kept of a seed: a line of seeds.jsonl, and what a worker tells its parent."""
from __future__ import annotations

import hashlib

import msgspec

from ..results import Operations
from ..store import RunFolder
from .environment import Environment
from .simulation import Outcome

ENVIRONMENT_DIGEST_BYTES = 8


class Answer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How a seed ended.

    checks: those that did not pass, with their verdicts. environment: a digest of it. marks: what
    the nodes came by, how often. folder: where history, results and report are, for a seed that has
    them.
    """

    seed: int
    verdict: str
    summary: str = ""
    digest: str = ""
    events: int = 0
    virtual_ns: int = 0
    wall_ns: int = 0
    cpu_ns: int = 0
    operations: Operations = Operations()
    faults: dict[str, int] = {}
    environment: str = ""
    marks: dict[str, int] = {}
    checks: dict[str, str] = {}
    error: str | None = None
    folder: str | None = None


def answer(outcome: Outcome, folder: RunFolder | None = None) -> Answer:
    """Return what is kept of a seed's outcome."""
    return Answer(
        seed=outcome.seed, verdict=outcome.verdict.label, summary=outcome.summary,
        digest=outcome.digest, events=outcome.events, virtual_ns=outcome.virtual_ns,
        wall_ns=outcome.wall_ns, cpu_ns=outcome.cpu_ns, operations=outcome.operations,
        faults=outcome.faults, marks=outcome.marks,
        environment=environment_digest(outcome.environment), error=outcome.error,
        checks={check.name: check.verdict.label for result in outcome.checks
                for check in result.all() if check.verdict},
        folder=None if folder is None else str(folder.path))


def environment_digest(environment: Environment) -> str:
    """Return what tells one environment from another."""
    text = msgspec.json.encode(environment)
    return hashlib.blake2b(text, digest_size=ENVIRONMENT_DIGEST_BYTES).hexdigest()
