"""One question about one history: which check answers it, with which engine and limits."""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .bank import check_bank
from .domains import Guarantees, check_domains
from .durability import NAME as DURABILITY
from .durability import check_durability
from .errors import CheckerError
from .history import NONE, OK, History
from .linearizable import check_linearizable
from .long_fork import check_long_fork
from .models import MODELS, Model, UserModel
from .porcupine_engine import Porcupine
from .readers import OBSERVES_FAILED_CAS
from .result import CheckResult, Verdict
from .session_guarantees import NAME as SESSIONS
from .session_guarantees import check_session_guarantees
from .set_full import check_set_full
from .total_queue import check_total_queue
from .transactions import KINDS, F, check_transactions
from .transactions.transaction import APPEND
from .unique_ids import check_unique_ids

FOLDS = {"bank": check_bank, "set-full": check_set_full, "total-queue": check_total_queue,
         "unique-ids": check_unique_ids}
LONG_FORK = "long-fork"
DOMAINS = "domains"
MODEL_NAMES = (*MODELS, *KINDS, *FOLDS, LONG_FORK, SESSIONS, DURABILITY, DOMAINS)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a history, beside the model."""

    engine: str = "auto"
    time_limit_s: float = 60.0
    memory_limit_bytes: int = 1 << 30
    initial: Any = None
    cas_fail: str | None = None             # None: as the format has it
    level: str = ""                         # of isolation; empty: the strictest
    group_size: int = 2                     # of a long fork's keys
    porcupine: Porcupine | None = None      # a worker to use again
    jobs: int | None = None                 # threads; None: as many as there are cores
    guarantees: Guarantees | None = None    # of domains; None: those that the history carries

    def for_format(self, format: str) -> Question:
        """Return the question with what a format means where nothing else was asked."""
        if self.cas_fail is not None:
            return self
        return replace(self, cas_fail="observe" if format in OBSERVES_FAILED_CAS else "drop")


def judge(
    history: History, model: Model | UserModel | str | None, question: Question,
) -> CheckResult:
    """Judge a history by a model; None: the one that the file names, or its operations need."""
    result = _judge(history, model, question)
    counts = result.evidence
    if "transactions" in counts:
        ends = history.pairs[1]
        return covered(result, int((history.type[ends[ends != NONE]] == OK).sum()))
    return covered(result, counts.get("operations", 1) - counts.get("crashed_operations", 0))


def covered(result: CheckResult, answered: int) -> CheckResult:
    """A pass on which nothing was answered proves nothing."""
    if result.verdict is Verdict.PASS and not answered:
        result.verdict = Verdict.NO_COVERAGE
        result.summary = "no operation was answered: there is nothing to judge"
    return result


def _judge(
    history: History, model: Model | UserModel | str | None, question: Question,
) -> CheckResult:
    model = model or history.model or _domains(history, question) or _transactions(history)
    if question.level and not (isinstance(model, str) and model in KINDS):
        raise CheckerError(f"a level of isolation is asked of transactions; expected a model like "
                           f"{' or '.join(KINDS)}")
    if question.initial is not None and model in (*KINDS, *FOLDS, LONG_FORK):
        raise CheckerError(f"an initial value is one of registers and the like; expected none of "
                           f"{model}")
    if isinstance(model, str) and model in KINDS:
        return check_transactions(history, model, question.level,
                                  time_limit_s=question.time_limit_s,
                                  memory_limit_bytes=question.memory_limit_bytes)
    if isinstance(model, str) and model in FOLDS:
        return FOLDS[model](history)
    if model == LONG_FORK:
        return check_long_fork(history, question.group_size)
    if model == SESSIONS:
        return check_session_guarantees(
            history, initial=question.initial, time_limit_s=question.time_limit_s,
            memory_limit_bytes=question.memory_limit_bytes)
    if model == DURABILITY:
        return check_durability(history, initial=question.initial)
    if model == DOMAINS:
        return _judge_domains(history, question)
    return check_linearizable(
        history, model, engine=question.engine, time_limit_s=question.time_limit_s,
        memory_limit_bytes=question.memory_limit_bytes, initial=question.initial,
        cas_fail=question.cas_fail or "drop", porcupine=question.porcupine, jobs=question.jobs)


def _domains(history: History, question: Question) -> str | None:
    return DOMAINS if question.guarantees or history.metadata.get("domains") else None


def _judge_domains(history: History, question: Question) -> CheckResult:
    """All that domains promise: the overview, with the guarantees beside it."""
    overview, *guarantees = check_domains(
        history, question.guarantees, engine=question.engine, initial=question.initial,
        time_limit_s=question.time_limit_s, memory_limit_bytes=question.memory_limit_bytes,
        porcupine=question.porcupine, jobs=question.jobs)
    overview.also += guarantees
    return overview


def _transactions(history: History) -> str | None:
    """The model of a history of transactions only: whether anything is appended tells which."""
    rows = history.pairs[0]
    if {history.fs[code] for code in np.unique(history.f[rows]).tolist()} != {F}:
        return None
    appends = (operation[0] == APPEND for row in rows.tolist()
               for operation in history.value(row) or () if isinstance(operation, list))
    return "list-append" if any(appends) else "rw-register"
