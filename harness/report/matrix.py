"""The detection matrix (detection.py): for a terminal, for docs/mutants.md, and for tests.

The seeds that found something first are tried again by a test, from a table with a line each
after one with the columns' names, and a tab between two columns::

    bug                 file                seed    property
    write-not-synced    examples/swarm.yml  1       durability
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..detection import Matrix, Row
from ..errors import BadInput
from ..mutants import MUTANTS, Mutant

BEGIN = "<!-- made by seatrial mutants --write: begin -->"
END = "<!-- end -->"
ISSUE = re.compile(r"([\w-]+/([\w.-]+))#(\d+)")
FOUND = ("bug", "file", "seed", "property")
HEADINGS = ("bug", "part", "first seed", "found", "by", "seconds")


def found_by(row: Row) -> str:
    """Return what was broken, and in how many seeds."""
    return ", ".join(f"{name} {count}" for name, count in row.by()) or "-"


def cells(row: Row) -> tuple[str, ...]:
    """Return a row's text, column by column."""
    part = "-" if row.mutant is None else row.mutant.part
    first_s = row.first_s()
    return (row.name, part, str(row.first() or "-"), f"{len(row.found)} of {row.seeds:,}",
            found_by(row), "-" if first_s is None else f"{first_s:.1f}")


def rows(matrix: Matrix) -> list[Row]:
    """Return all rows, the controls last."""
    return [*matrix.rows, *matrix.controls]


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return a table of columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines]


def remarks(matrix: Matrix) -> Iterable[str]:
    """Return what does not fit a table."""
    unfound = [row.name for row in matrix.rows if not row.found]
    if unfound:
        yield f"not found: {', '.join(unfound)}"
    for row in rows(matrix):
        if row.broke:
            yield f"{row.name}: the harness failed at {row.broke} seeds; {row.reason}"
        if row.mutant is None and row.found:
            yield f"{row.name}: not clean, first at seed {row.first()}: {found_by(row)}"
        if row.mutant is None and row.uncovered:
            yield f"{row.name}: {row.uncovered} of {row.seeds:,} seeds were no test of anything"
        if row.found and row.mutant is not None and not row.as_expected():
            yield (f"{row.name}: broke {found_by(row)}, expected "
                   f"{' or '.join(row.mutant.breaks)}")


def text(matrix: Matrix) -> str:
    """Return the matrix for a terminal."""
    return "\n".join([*aligned([HEADINGS, *map(cells, rows(matrix))]), "", *remarks(matrix)])


def markdown(matrix: Matrix, how: str) -> str:
    """Return the matrix for the document, and what each bug is; ``how``: it was made."""
    table = [HEADINGS, tuple("---" for _ in HEADINGS)]
    for row in rows(matrix):
        name, *rest = cells(row)
        table.append((name if row.mutant is None else f"`{name}`", *rest))
    return "\n".join([
        how, "", *map(piped, table), "", *(f"- {remark}" for remark in remarks(matrix)), "",
        "## The bugs", "", "| bug | what is wrong | made before |", "|---|---|---|",
        *(piped((f"`{mutant.name}`", mutant.what, linked(mutant))) for mutant in MUTANTS)])


def found(matrix: Matrix) -> str:
    """Return the table of first finds; a bug that was not found has no line."""
    lines = [(row.name, str(row.file), str(first), row.found[first])
             for row in matrix.rows if (first := row.first()) is not None]
    return "".join("\t".join(line) + "\n" for line in [FOUND, *lines])


def piped(line: Iterable[str]) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(line)} |"


def linked(mutant: Mutant) -> str:
    """Return where a bug is known from, issues as links."""
    return ISSUE.sub(r"[\2#\3](https://github.com/\1/issues/\3)", mutant.source)


def insert(path: Path, made: str) -> None:
    """Put what was made between the marks in a document."""
    document = path.read_text(encoding="utf-8")
    before, mark, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise BadInput(f"{path}: expected the lines {BEGIN!r} and {END!r}, and the matrix goes "
                       "between them")
    path.write_text(f"{before}{mark}\n{made}\n{end}{after}", encoding="utf-8")
