"""Online for every other model: the history is kept, and judged each time it has doubled."""
from __future__ import annotations

import pyarrow as pa

from ..history import History
from ..judge import Question, judge
from ..models import MODELS, Family, Model, UserModel
from ..result import CheckResult, Verdict
from .check import OnlineCheck, Violation

FIRST_LOOK = 2_000          # events


class WholeCheck:
    """Any check, as often as the history has doubled: memory grows with it."""

    def __init__(self, model: Model | UserModel | str | None, question: Question, *,
                 stop: bool = False) -> None:
        self.model = model
        self.question = question
        self.stop = stop
        self.violations: list[Violation] = []
        self.events = 0
        self.answered = 1                   # what nobody answered, the check itself tells
        self._tables: list[pa.Table] = []
        self._look_at = FIRST_LOOK
        self._found: CheckResult | None = None

    @property
    def operations(self) -> int:
        """How many there were, about."""
        return self.events // 2

    @property
    def stopped(self) -> bool:
        """Whether it wants no more events."""
        return self.stop and bool(self.violations)

    def summary(self) -> str:
        """Return the verdict up to now, in a few words."""
        if self._found is None:
            return f"{self.events:,} events, not judged yet"
        return f"{self.events:,} events; {self._found.summary}"

    def feed(self, history: History) -> list[Violation]:
        """Take a batch of events; returns the violation that was found in all up to now."""
        if self.stopped:
            return []
        self._tables.append(history.table)
        self.model = self.model or history.model
        self.events += len(history)
        if self.events < self._look_at:
            return []
        self._look_at = 2 * self.events
        return self._judge()

    def _judge(self) -> list[Violation]:
        known = bool(self.violations)
        whole = History(pa.concat_tables(self._tables).unify_dictionaries())
        self._found = judge(whole, self.model, self.question)
        if self._found.verdict is not Verdict.VIOLATION or known:
            return []
        self.violations.append(Violation(None, self.events - 1, self._found.summary))
        return self.violations

    def finish(self) -> CheckResult:
        """Return the result for all of it."""
        if not self.stopped:
            self._judge()
        assert self._found is not None
        return self._found


def online_check(
    model: Model | UserModel | str | None, question: Question, first: History, *,
    stop: bool = False,
) -> OnlineCheck | WholeCheck:
    """Return the online check for a model, or for what the first batch says and does."""
    model = model or first.model
    if isinstance(model, str):
        model = MODELS.get(model, model)
    fs = {first.fs[code] for code in first.f[first.process >= 0].tolist()}
    of_domains = question.guarantees is not None or bool(first.metadata["domains"])
    of_a_value = (model.family == Family.VALUE if isinstance(model, Model)
                  else model is None and not of_domains and fs <= MODELS["kv"].roles.keys())
    if of_a_value and question.engine == "auto":
        assert model is None or isinstance(model, Model)
        return OnlineCheck(model, initial=question.initial,
                           cas_fail=question.cas_fail or "drop", stop=stop,
                           time_limit_s=question.time_limit_s,
                           memory_limit_bytes=question.memory_limit_bytes)
    return WholeCheck(model, question, stop=stop)
