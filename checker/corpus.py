"""Judging a corpus: histories whose verdicts others gave, listed in a tab-separated index.

Columns used: ``file`` (relative to the index), ``format``, ``model``, ``initial_value``,
``expected`` (true, false, or something this checker has no word for), ``note``. Nothing is
hidden: what can't be judged is counted by format and model, and a row whose note calls it
disputed is reported but does not count.
"""
from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import BadHistory
from .linearizable import check_linearizable
from .models import MODELS
from .porcupine_engine import Porcupine
from .readers import OBSERVES_FAILED_CAS, READERS, read
from .result import CheckResult, Verdict

COLUMNS = ("file", "format", "model", "initial_value", "expected", "note")
NOTHING = ("", "nil", "null", "none", "(empty string)")
VERDICTS = {"true": Verdict.PASS, "false": Verdict.VIOLATION}


@dataclass(slots=True)
class Row:
    """One history of the index."""

    file: str
    format: str
    model: str
    initial: Any
    expected: str
    disputed: bool

    @property
    def supported(self) -> bool:
        """Whether this checker knows the format, the model and the verdict's words."""
        return self.format in READERS and self.model in MODELS and self.expected in VERDICTS


@dataclass(slots=True)
class Judged:
    """What was found about one row; ``problem`` is empty when all agree."""

    row: Row
    result: CheckResult | None
    problem: str


@dataclass(slots=True)
class Report:
    """All rows, sorted by what was found."""

    agree: list[Judged] = field(default_factory=list)
    disagree: list[Judged] = field(default_factory=list)
    undecided: list[Judged] = field(default_factory=list)
    unreadable: list[Judged] = field(default_factory=list)
    disputed: list[Judged] = field(default_factory=list)
    unsupported: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def exit_code(self) -> int:
        """1 when anything disagrees, else 254 for a file that can't be read, else 2, else 0."""
        if self.disagree:
            return 1
        if self.unreadable:
            return 254
        return 2 if self.undecided else 0


def rows(index: Path) -> Iterator[Row]:
    """Read an index."""
    try:
        text = index.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadHistory(f"can't read the index: {error}", where=str(index)) from error
    lines = csv.DictReader(text.splitlines(), delimiter="\t")
    missing = [column for column in COLUMNS if column not in (lines.fieldnames or ())]
    if missing:
        raise BadHistory(f"the index has no column {', '.join(missing)}; expected a first line "
                         f"that names {', '.join(COLUMNS)}", where=str(index), line=1)
    for line in lines:
        if any(line[column] is None for column in COLUMNS[:-1]):
            raise BadHistory(f"fewer cells than the {len(lines.fieldnames or ())} columns",
                             where=str(index), line=lines.line_num)
        initial = line["initial_value"].strip()
        yield Row(
            file=line["file"], format=line["format"], model=line["model"].split(" ")[0],
            initial=None if initial in NOTHING else int(initial) if initial.isdigit() else initial,
            expected=line["expected"], disputed="disputed" in (line["note"] or ""))


def judge_index(
    index: Path, *, engine: str, time_limit_s: float, memory_limit_bytes: int,
    porcupine: Porcupine | None = None,
) -> Report:
    """Judge every history of the index that is supported."""
    report = Report()
    for row in rows(index):
        if not row.supported:
            report.unsupported[row.format, row.model] += 1
            continue
        judged = _judge(index.parent / row.file, row, engine, time_limit_s, memory_limit_bytes,
                        porcupine)
        if row.disputed:
            report.disputed.append(judged)
        elif judged.result is None:
            report.unreadable.append(judged)
        elif not judged.problem:
            report.agree.append(judged)
        elif judged.result.verdict == Verdict.INCONCLUSIVE:
            report.undecided.append(judged)
        else:
            report.disagree.append(judged)
    return report


def _judge(path: Path, row: Row, engine: str, time_limit_s: float, memory: int,
           porcupine: Porcupine | None) -> Judged:
    try:
        history, format = read(path, row.format)
        result = check_linearizable(
            history, row.model, engine=engine, time_limit_s=time_limit_s,
            memory_limit_bytes=memory, initial=row.initial, porcupine=porcupine,
            cas_fail="observe" if format in OBSERVES_FAILED_CAS else "drop")
    except BadHistory as error:
        return Judged(row, None, str(error))
    problems = [other.summary for other in result.also]
    if result.verdict != VERDICTS[row.expected]:
        problems.insert(0, f"expected {VERDICTS[row.expected].label}, found "
                           f"{result.verdict.label}: {result.summary}")
    return Judged(row, result, "; ".join(problems))
