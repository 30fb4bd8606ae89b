"""Lines that must not be in a log: each known kind is found, by file and line."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

from seatrial.checker import CheckerError, Verdict
from seatrial.checker.log_patterns import KNOWN, MOST_LETTERS, check_log_patterns, compiled

SEEN = {                    # what programs really write
    "panic": ("panic: runtime error: index out of range [3] with length 3",
              "fatal error: concurrent map writes",
              "thread 'main' panicked at src/main.rs:4:5:",
              "[  12.3] Kernel panic - not syncing: Attempted to kill init!",
              "[  12.3] Oops: 0002 [#1] SMP PTI", "kernel BUG at mm/slub.c:321!",
              "BUG: unable to handle page fault for address: 00000000",
              '{"level":"panic","msg":"tocommit(107) is out of range"}'),
    "assertion": ("raft.c:412: step: Assertion `term >= self->term' failed.",
                  "assertion `left == right` failed", "java.lang.AssertionError: boom",
                  "InvariantViolation: commit 7 is behind 9"),
    "sanitizer": ("==12==ERROR: AddressSanitizer: heap-use-after-free on address 0x602",
                  "==12==ERROR: LeakSanitizer: detected memory leaks",
                  "WARNING: ThreadSanitizer: data race (pid=12)", "WARNING: DATA RACE",
                  "log.c:12:3: runtime error: signed integer overflow"),
    "memory": ("Out of memory: Killed process 812 (node)", "oom-kill:constraint=CONSTRAINT_MEMCG",
               "java.lang.OutOfMemoryError: Java heap space", "MemoryError",
               "what():  std::bad_alloc", "memory allocation of 81920 bytes failed"),
    "crash": ("Segmentation fault (core dumped)", "[signal SIGSEGV: segmentation violation",
              "node[812]: segfault at 0 ip 00007f", "double free or corruption (!prev)",
              "corrupted size vs. prev_size", "*** stack smashing detected ***: terminated",
              "Fatal Python error: Aborted", "terminate called after throwing an instance"),
}
SOUND = ("raft: n2 became leader at term 4", "fatal: could not open config", "don't panic",
         "assertions are on", "memory: 12 MB", "level=error msg=\"request timed out\"")


@pytest.mark.parametrize(("kind", "line"), [(kind, line) for kind in SEEN for line in SEEN[kind]])
def test_a_line_of_a_known_kind_is_a_violation(tmp_path: Path, kind: str, line: str) -> None:
    log = tmp_path / "node.log"
    log.write_text("\n".join((*SOUND, line, *SOUND)))
    found = check_log_patterns({"n1/node.log": log})
    assert found.verdict == Verdict.VIOLATION
    assert found.evidence["examples"] == [
        {"file": "n1/node.log", "line": len(SOUND) + 1, "pattern": kind, "text": line}]
    assert f"n1/node.log:{len(SOUND) + 1}: {line}" in found.summary


def test_each_known_expression_has_a_line_that_it_finds() -> None:
    for kind, expressions in KNOWN.items():
        for expression in expressions:
            assert any(compiled(expression).search(line.encode()) for line in SEEN[kind])


def test_lines_of_a_sound_program_are_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("\n".join(SOUND))
    (tmp_path / "b").write_bytes(b"")
    found = check_log_patterns({"a": tmp_path / "a", "b": tmp_path / "b"})
    assert found.verdict == Verdict.PASS
    assert found.summary.startswith("nothing in 2 files")


def test_patterns_of_ones_own_are_named_by_themselves_and_lines_may_be_all_right(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    log.write_text("lost 3 entries\npanic: in a test\nlost 4 entries\npanic: for real\n")
    found = check_log_patterns({"log": log}, patterns=[r"^lost \d+"], ignore=["in a test", "3 e"])
    assert [(one["line"], one["pattern"]) for one in found.evidence["examples"]] == [
        (3, r"^lost \d+"), (4, "panic")]
    alone = check_log_patterns({"log": log}, known=False, patterns=["lost 4"])
    assert alone.evidence["by_pattern"] == {"lost 4": 1}
    assert alone.text == "log:3: lost 4 entries"


def test_a_line_is_counted_once_and_shown_in_what_a_terminal_can_bear(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\x00\xff\npanic: panic: \x1b[31mSIGSEGV " + b"x" * 1000 + b"\r\n" * 3)
    found = check_log_patterns({"log": log})
    assert found.evidence["lines"] == 1
    [line] = found.evidence["examples"]
    assert (line["line"], line["pattern"]) == (2, "panic")
    assert line["text"].startswith("panic: panic: [31mSIGSEGV xxx")
    assert len(line["text"]) == MOST_LETTERS


def test_many_lines_are_counted_and_the_first_are_shown(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("panic: again\n" * 50)
    found = check_log_patterns({"log": log})
    assert found.evidence["by_pattern"] == {"panic": 50}
    assert found.text.splitlines()[-1] == "and 30 more"


def test_without_logs_nothing_is_known() -> None:
    assert check_log_patterns({}).verdict == Verdict.NO_COVERAGE


@pytest.mark.parametrize(("expression", "said"), [
    ("lost (", "is not a regular expression: missing )"), ("x*", "is in every line")])
def test_an_expression_that_can_not_be_searched_for_is_refused(expression: str, said: str) -> None:
    with pytest.raises(CheckerError, match=re.escape(said)):
        compiled(expression)
