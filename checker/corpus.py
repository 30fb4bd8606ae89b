"""Judging a corpus: histories whose verdicts others gave, listed in a tab-separated index.

Columns used: ``file`` (relative to the index), ``format``, ``model``, ``initial_value``,
``expected``, ``note``. What is expected is ``true``, ``false``, ``false (level)``, or
``strongest level that holds: level`` of those that the note lists. Nothing is hidden: what can't
be judged is counted by source (the file's folder), format and model. A row whose note calls it
disputed is reported but does not count, nor does the same history in another file.
"""
from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .errors import BadHistory, CheckerError
from .history import History
from .judge import MODEL_NAMES, Question, judge
from .readers import READERS, read
from .result import CheckResult, Verdict

COLUMNS = ("file", "format", "model", "initial_value", "expected", "note")
NOTHING = ("", "nil", "null", "none", "empty", "[]", "(empty string)")
VERDICTS = {"true": Verdict.PASS, "false": Verdict.VIOLATION}
FORMATS = {"edn-lines-kv": "edn", "edn-lines txn": "edn", "awdit-test": "awdit",
           "plume-text": "plume"}
MODELS = {"queue": "fifo-queue", "priorityqueue": "priority-queue"}     # as fastlin has them
EXPECTED = re.compile(r"(true|false)(?: \((.+)\))?$")
STRONGEST = re.compile(r"strongest level that holds: ([\w-]+)$")
LEVELS = re.compile(r"levels: ([\w-]+(?: > [\w-]+)*)")


@dataclass(slots=True)
class Row:
    """One history of the index; ``claims`` are verdicts, by level where there are any."""

    file: str
    format: str
    model: str
    question: Question
    claims: dict[str, Verdict]
    disputed: bool

    @property
    def source(self) -> str:
        """Whose history it is: the folder."""
        return Path(self.file).parts[0] if len(Path(self.file).parts) > 1 else "."

    @property
    def supported(self) -> bool:
        """Whether this checker knows the format, the model and the verdict's words."""
        return self.format in READERS and self.model in MODEL_NAMES and bool(self.claims)


@dataclass(slots=True)
class Judged:
    """What was found about one row; ``problem`` is empty when all agree."""

    row: Row
    results: list[CheckResult]
    problem: str
    history: History | None = None

    @property
    def undecided(self) -> bool:
        """Whether nothing was found but that time or memory did not suffice."""
        return any(result.verdict == Verdict.INCONCLUSIVE for result in self.results)


@dataclass(slots=True)
class Report:
    """All rows, sorted by what was found."""

    agree: list[Judged] = field(default_factory=list)
    disagree: list[Judged] = field(default_factory=list)
    undecided: list[Judged] = field(default_factory=list)
    unreadable: list[Judged] = field(default_factory=list)
    disputed: list[Judged] = field(default_factory=list)
    unsupported: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    @property
    def exit_code(self) -> int:
        """1 when anything disagrees, else 254 for a file that can't be read, else 2, else 0."""
        if self.disagree:
            return 1
        if self.unreadable:
            return 254
        return 2 if self.undecided else 0

    def withdraw_what_is_disputed(self) -> None:
        """A dispute is about a history: the same in another file is disputed, too."""
        disputed = {fingerprint(judged.history): judged.row.file
                    for judged in self.disputed if judged.history is not None}
        for judged in list(self.disagree):
            assert judged.history is not None
            twin = disputed.get(fingerprint(judged.history))
            if twin is not None:
                self.disagree.remove(judged)
                judged.problem += f" (the same history as {twin})"
                self.disputed.append(judged)


def fingerprint(history: History) -> str:
    """What a history says, whatever its format."""
    return repr([(row["type"], row["process"], row["f"], row["key"], row["value"])
                 for row in history.rows()])


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
        model, *options = line["model"].split(" ")
        note = line["note"] or ""
        question = Question(initial=_initial(line["initial_value"].strip()))
        if "--consistency-models" in options:
            question = replace(question, level=options[-1])
        if "--group-size" in options:
            question = replace(question, group_size=int(options[-1]))
        yield Row(
            file=line["file"], format=FORMATS.get(line["format"], line["format"]),
            model=MODELS.get(model, model), question=question,
            claims=_claims(line["expected"], note, question.level), disputed="disputed" in note)


def _initial(text: str) -> Any:
    return None if text in NOTHING else int(text) if text.isdigit() else text


def _claims(expected: str, note: str, level: str) -> dict[str, Verdict]:
    """What is expected of each level; ``level`` where the words name none.

    Who names the strongest level means Biswas & Enea's: the order of sessions always counts.
    """
    if (found := EXPECTED.match(expected)):
        return {found[2] or level: VERDICTS[found[1]]}
    strongest, listed = STRONGEST.match(expected), LEVELS.search(note)
    if strongest is None or listed is None:
        return {}
    levels = [level for level in listed[1].split(" > ") if level != "none"]
    held = levels.index(strongest[1]) if strongest[1] in levels else len(levels)
    return {f"strong-session-{level}": Verdict.PASS if i >= held else Verdict.VIOLATION
            for i, level in enumerate(levels)}


def judge_index(index: Path, asked: Question) -> Report:
    """Judge every history of the index that is supported, with engine and limits of ``asked``."""
    report = Report()
    for row in rows(index):
        if not row.supported:
            report.unsupported[row.source, row.format, row.model] += 1
            continue
        judged = _judge(index.parent / row.file, row, asked)
        if row.disputed:
            report.disputed.append(judged)
        elif judged.history is None:
            report.unreadable.append(judged)
        elif not judged.problem:
            report.agree.append(judged)
        elif judged.undecided:
            report.undecided.append(judged)
        else:
            report.disagree.append(judged)
        if not judged.problem:
            judged.history = None               # has served; a corpus may be large
    report.withdraw_what_is_disputed()
    return report


def _judge(path: Path, row: Row, asked: Question) -> Judged:
    results: list[CheckResult] = []
    problems: list[str] = []
    try:
        history, format = read(path, row.format)
        for level, expected in row.claims.items():
            question = replace(asked, initial=row.question.initial, level=level,
                               group_size=row.question.group_size).for_format(format)
            result = judge(history, row.model, question)
            results.append(result)
            found = result.verdict
            if found is Verdict.NO_COVERAGE:        # who says true of it says no more than that
                found = Verdict.PASS
            if found != expected:
                problems.append(f"expected {expected.label}{' of ' + level if level else ''}, "
                                f"found {result.verdict.label}: {result.summary}")
            problems += [other.summary for other in result.also]
    except CheckerError as error:
        return Judged(row, [], str(error))
    return Judged(row, results, "; ".join(problems), history)
