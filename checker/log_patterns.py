"""Log patterns: lines of the nodes' logs that no sound program writes. (Jepsen's log-file-pattern.)

A program that panics, fails an assertion, is reported by a sanitizer or runs out of memory has
a bug, whatever its clients saw. Each expression begins with plain letters, because such are found
at the speed of memory; it is searched for in bytes, so that no line is too strange.
"""
from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

from .errors import CheckerError
from .result import CheckResult, Verdict

KNOWN: Mapping[str, Sequence[str]] = {
    "panic": ("panic: ", "fatal error: ", "panicked at ", "Kernel panic - not syncing", "Oops: ",
              "kernel BUG at ", "BUG: unable to handle", r'level":"panic"'),
    "assertion": ("Assertion .{1,300}failed", "assertion .{0,300}failed", "AssertionError",
                  "InvariantViolation"),
    "sanitizer": ("ERROR: [A-Za-z]{1,16}Sanitizer", "WARNING: [A-Za-z]{1,16}Sanitizer",
                  "WARNING: DATA RACE", r"runtime error: "),
    "memory": ("Out of memory", "oom-kill:", "OutOfMemoryError", "MemoryError", "std::bad_alloc",
               r"memory allocation of \d+ bytes failed"),
    "crash": ("Segmentation fault", "SIGSEGV", "segfault at ", "double free or corruption",
              "corrupted size vs. prev_size", "stack smashing detected", "Fatal Python error",
              "terminate called "),
}
MOST_SHOWN = 20             # lines
MOST_LETTERS = 300          # of one
UNREADABLE = re.compile(r"[^\t\x20-\x7e\xa0-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Found:
    """One line. ``pattern``: the name of a known kind, or the user's expression."""

    file: str
    line: int               # from 1
    pattern: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


def compiled(expression: str) -> re.Pattern[bytes]:
    """Return a user's expression as one for bytes."""
    try:
        found = re.compile(expression.encode(), re.MULTILINE)
    except re.error as error:
        raise CheckerError(f"{expression!r} is not a regular expression: {error}") from None
    if found.search(b""):
        raise CheckerError(f"{expression!r} is in every line, even an empty one")
    return found


def check_log_patterns(
    files: Mapping[str, Path], *, known: bool = True, patterns: Sequence[str] = (),
    ignore: Sequence[str] = (), name: str = "log-patterns",
) -> CheckResult:
    """Search files: name -> where it is; lines that match ``ignore`` are all right."""
    wanted = [(kind, compiled(one)) for kind, some in KNOWN.items() if known for one in some]
    wanted += [(expression, compiled(expression)) for expression in patterns]
    fine = [compiled(expression) for expression in ignore]
    found, size = list[Found](), 0
    for label, path in sorted(files.items()):
        found += _search(label, path, wanted, fine)
        size += path.stat().st_size
    by_pattern = dict(Counter(one.pattern for one in found).most_common())
    evidence = {
        "files": len(files), "bytes": size, "lines": len(found), "by_pattern": by_pattern,
        "examples": [{"file": one.file, "line": one.line, "pattern": one.pattern,
                      "text": one.text} for one in found[:MOST_SHOWN]]}
    if not files:
        return CheckResult(name, Verdict.NO_COVERAGE, "there are no logs to search",
                           evidence=evidence)
    if not found:
        return CheckResult(name, Verdict.PASS, f"nothing in {len(files)} files, {size:,} bytes",
                           evidence=evidence)
    kinds = ", ".join(f"{count} {pattern}" for pattern, count in by_pattern.items())
    text = "\n".join(map(str, found[:MOST_SHOWN]))
    if len(found) > MOST_SHOWN:
        text += f"\nand {len(found) - MOST_SHOWN} more"
    return CheckResult(name, Verdict.VIOLATION, f"{kinds}: {found[0]}", text, evidence)


def _search(label: str, path: Path, wanted: Sequence[tuple[str, re.Pattern[bytes]]],
            fine: Sequence[re.Pattern[bytes]]) -> Iterator[Found]:
    """Yield the lines of one file, in their order, each once."""
    if not path.stat().st_size:
        return
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        begins: dict[int, str] = {}
        for pattern, expression in wanted:
            for match in expression.finditer(data):
                begins.setdefault(data.rfind(b"\n", 0, match.start()) + 1, pattern)
        line, counted = 1, 0
        for start in sorted(begins):
            end = data.find(b"\n", start)
            whole = data[start:end if end >= 0 else len(data)]
            if any(expression.search(whole) for expression in fine):
                continue
            line += data[counted:start].count(b"\n")
            counted = start
            yield Found(label, line, begins[start], _shown(whole))


def _shown(line: bytes) -> str:
    text = UNREADABLE.sub("", line.decode(errors="replace")).strip()
    return text if len(text) <= MOST_LETTERS else text[:MOST_LETTERS - 1] + "…"
