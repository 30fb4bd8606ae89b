"""``seatrial check`` of a history that still arrives: the verdict up to now, until there is a last.

Memory does not grow with the history where the online monitor judges it (checker/online). A history
on standard input that turns out to be of moderate size is judged as a file would be.
"""
from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

import click
import pyarrow as pa

from seatrial.checker import CheckResult, History, UserModel, check_unhandled_exceptions
from seatrial.checker.judge import Question, covered, judge
from seatrial.checker.linearizable import MODERATE_OPERATIONS
from seatrial.checker.online import online_check
from seatrial.checker.online.batches import Batches
from seatrial.checker.readers import ARROW_STREAM, READERS, guess
from seatrial.checker.readers.source import HEAD, Source
from seatrial.checker.stats import Stats, check_stats

PERIOD_S = 5.0              # between two lines that say how far it is
RESULTS = "results.json"    # appears in a run's folder when its history is whole

Chosen = str | UserModel | None


@dataclass(frozen=True, slots=True)
class Watching:
    """How a history that arrives is judged."""

    model: Chosen
    format: str | None
    question: Question
    follow: bool = False        # wait for more at the end of a file
    fail_fast: bool = False     # stop at the first violation


def from_file(path: Path, how: Watching) -> list[CheckResult]:
    """Judge a file, a run's folder or standard input while it is read."""
    with Batches.of(path, how.format, _ended(path, how.follow)) as batches:
        return _feed(iter(batches), batches, how)


def _ended(path: Path, follow: bool) -> Callable[[], bool]:
    if not follow:
        return lambda: True
    results = path / RESULTS
    return results.exists if path.is_dir() else lambda: False


def from_stdin(how: Watching) -> list[CheckResult]:
    """Judge standard input: as a file where it is moderate or no stream of ours, else online."""
    source = Source.of("-")
    file = io.BufferedReader(cast(io.RawIOBase, getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)))
    begins = file.peek(len(ARROW_STREAM))
    if how.format not in (None, "arrow") or not begins.startswith(ARROW_STREAM):
        source.data = file.read()
        file.detach()
        source.head = source.data[:HEAD]
        format = how.format or guess(source)
        history = READERS[format](source)
        return list(judge(history, how.model, how.question.for_format(format)).all())
    with Batches(cast(BinaryIO, file), source.name, "arrow", lent=True) as batches:
        return _moderate_or_online(batches, how)


def _moderate_or_online(batches: Batches, how: Watching) -> list[CheckResult]:
    coming, first, events = iter(batches), list[History](), 0
    for history in coming:
        first.append(history)
        events += len(history)
        if events > 2 * MODERATE_OPERATIONS:
            return _feed(chain(first, coming), batches, how)
    if not first:
        raise Source.of("-").bad("no events in it")
    table = pa.concat_tables([history.table for history in first])
    whole = History(table, complete=batches.complete, where=batches.where)
    found = judge(whole, how.model, how.question.for_format("arrow"))
    return [*found.all(), check_stats(whole), check_unhandled_exceptions(whole)]


def _feed(coming: Iterator[History], batches: Batches, how: Watching) -> list[CheckResult]:
    """Take batches until there are no more, the check wants none, or ^C."""
    check, stats = None, Stats()
    told = time.monotonic()
    try:
        for history in coming:
            if check is None:
                question = how.question.for_format(batches.format)
                check = online_check(how.model, question, history, stop=how.fail_fast)
            for found in check.feed(history):
                click.echo(f"row {found.row}: {found.reason}", err=True)
            stats.feed(history)
            if check.stopped:
                break
            if time.monotonic() - told >= PERIOD_S:
                told = time.monotonic()
                click.echo(check.summary(), err=True)
    except KeyboardInterrupt:
        click.echo("interrupted: the verdict is that of what came until now", err=True)
    if check is None:
        raise Source.of(batches.where).bad("no events in it")
    result = covered(check.finish(), check.answered)
    return [*result.all(), *([stats.result()] if batches.format == "arrow" else [])]
