"""``seatrial check``: judge a history, a run's folder, or a whole corpus."""
from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec

from seatrial.checker import CheckResult, UserModel, porcupine_engine, user_models
from seatrial.checker.corpus import Judged, Report, judge_index
from seatrial.checker.domains import Guarantees
from seatrial.checker.errors import CheckerError
from seatrial.checker.history import pack
from seatrial.checker.judge import MODEL_NAMES, Question, judge
from seatrial.checker.linearizable import ENGINES
from seatrial.checker.log_patterns import compiled
from seatrial.checker.porcupine_engine import Porcupine
from seatrial.checker.readers import READERS, read
from seatrial.checker.readers.source import STDIN
from seatrial.checker.result import worst
from seatrial.checker.stats import check_stats, check_unhandled_exceptions

from ..beside import checks_beside
from ..domain_checks import guarantees
from ..errors import BadInput
from ..log_checks import log_checks, logs_at
from ..online import Watching, from_file, from_stdin
from ..testfile import LogSearch
from ..yamlfile import Document
from .domains import tree_in

LEAST_S, MOST_S = 0.001, 1e9
UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def size(context: click.Context, param: click.Parameter, value: str) -> int:
    """Return a number of bytes from ``512M`` or ``2G``."""
    text = value.strip().lower().removesuffix("b").removesuffix("i")
    unit = UNITS.get(text[-1:], 1)
    digits = text[:-1] if text[-1:] in UNITS else text
    if not digits.isdigit() or int(digits) == 0:
        raise click.BadParameter(f"{value!r} is not a size; expected a number and K, M or G")
    return int(digits) * unit


def seconds(context: click.Context, param: click.Parameter, value: float) -> float:
    """Return a time limit."""
    if not LEAST_S <= value <= MOST_S:
        raise click.BadParameter(f"{value} is not in the range {LEAST_S} to {MOST_S:g}")
    return value


class ModelName(click.ParamType[str | UserModel]):
    """A model's name, or a class in a user's file."""

    name = "model"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None,
    ) -> str | UserModel:
        if value in MODEL_NAMES:
            return str(value)
        if user_models.MARK not in value:
            self.fail(f"{value!r} is not one of {', '.join(MODEL_NAMES)}, nor FILE.py:CLASS", param,
                      ctx)
        try:
            return user_models.load(value)
        except CheckerError as error:
            raise BadInput(str(error)) from error


@click.command("check")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--index", type=click.Path(path_type=Path), help="Judge a corpus by its index.")
@click.option("--model", type=ModelName(), metavar="NAME|FILE.py:CLASS",
              help="Default: what the file says, or its operations need.")
@click.option("--level", default="", metavar="LEVEL",
              help="Of isolation, of transactions. Default: the strictest.")
@click.option("--group-size", type=click.IntRange(1), default=2, show_default=True,
              help="Keys that a read of long-fork asks for.")
@click.option("--engine", type=click.Choice(ENGINES), default="auto", show_default=True)
@click.option("--time", "time_limit_s", type=float, callback=seconds, default=60.0,
              show_default=True, help="Seconds for each history.")
@click.option("--memory", callback=size, default="1G", show_default=True,
              help="Bytes for each engine.")
@click.option("--format", "format", type=click.Choice(list(READERS)),
              help="Default: told from the content.")
@click.option("--initial", default=None, help="Every key's value at the start, as JSON.")
@click.option("--topology", "topology_file", type=click.Path(path_type=Path),
              help="The tree of domains, in a file of its own or a test file. Default: what the "
              "history carries.")
@click.option("--logs", "logs", type=click.Path(path_type=Path), multiple=True,
              metavar="FILE|FOLDER", help="Search these for lines that must not be there. A run's "
              "folder has its own. May be repeated.")
@click.option("--log-pattern", "log_patterns", multiple=True, metavar="REGEX",
              help="What must not be in the logs either. May be repeated.")
@click.option("--cas-fail", type=click.Choice(["drop", "observe"]),
              help="What a failed CAS that does not say what it saw means.")
@click.option("--jobs", type=click.IntRange(1, 1024), metavar="N",
              help="Threads, which share the keys. Default: one for each core.")
@click.option("--online", is_flag=True,
              help="Judge while it is read, in memory that does not grow with it.")
@click.option("--follow", is_flag=True,
              help="Wait for more at the end of a file that still grows. Implies --online.")
@click.option("--fail-fast", is_flag=True,
              help="Stop at the first violation. Implies --online.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def command(
    file: Path | None, index: Path | None, model: str | UserModel | None, level: str,
    group_size: int, engine: str, time_limit_s: float, memory: int, format: str | None,
    initial: str | None, topology_file: Path | None, logs: tuple[Path, ...],
    log_patterns: tuple[str, ...], cas_fail: str | None, jobs: int | None, online: bool,
    follow: bool, fail_fast: bool, as_json: bool,
) -> int:
    """Judge FILE, a history in any known format or a run's folder, or a corpus (--index).

    FILE - is standard input; more than a moderate history is judged there while it arrives.
    With --logs there need not be a FILE.
    """
    if (file is not None) + (index is not None) != 1 and not (logs and index is None):
        raise click.UsageError("expected either FILE or --index INDEX, or --logs")
    if index is not None and (logs or log_patterns):
        raise click.UsageError("--logs and --log-pattern are for one history, not for a corpus")
    if log_patterns and not logs and not (file is not None and file.is_dir()):
        raise click.UsageError("--log-pattern: expected --logs, or a run's folder, to search")
    arrives = online or follow or fail_fast
    if arrives and index is not None:
        raise click.UsageError("--online, --follow and --fail-fast are for one history, not for "
                               "a corpus")
    question = Question(engine, time_limit_s, memory, _initial(initial), cas_fail, level,
                        group_size, jobs=jobs, guarantees=_guarantees(topology_file))
    try:
        if index is not None:
            return _check_index(index, question)
        search = _search(log_patterns)
        how = Watching(model, format, question, follow, fail_fast)
        results = ([] if file is None else
                   from_file(file, how) if arrives else
                   from_stdin(how) if str(file) == STDIN and engine == "auto" else
                   _check_file(file, model, format, question, search))
        if logs:
            results += log_checks(search, logs_at(logs))
    except CheckerError as error:
        raise BadInput(str(error)) from error
    if as_json:
        click.echo(json.dumps([msgspec.to_builtins(_plain(result)) for result in results]))
    else:
        _print(results)
    return worst(result.verdict for result in results).exit_code


def _initial(text: str | None) -> object:
    try:
        initial = None if text is None else json.loads(text)
    except ValueError as error:
        raise BadInput(f"--initial {text!r} is not JSON; expected for example 0 or '\"\"'"
                       ) from error
    try:
        pack(initial)
    except (OverflowError, ValueError) as error:
        raise BadInput(f"--initial {text!r} can't be a value: {error}") from error
    return initial


def _guarantees(file: Path | None) -> Guarantees | None:
    return None if file is None else guarantees(tree_in(Document.load(file)))


def _search(patterns: tuple[str, ...]) -> LogSearch:
    for expression in patterns:
        try:
            compiled(expression)
        except CheckerError as error:
            raise BadInput(f"--log-pattern: {error}") from None
    return LogSearch(patterns=list(patterns))


def _check_file(
    file: Path, model: str | UserModel | None, format: str | None, question: Question,
    search: LogSearch,
) -> list[CheckResult]:
    history, format = read(file, format)
    if not history.complete:
        click.echo(f"{history.where}: it has no end: its writer was stopped; what comes after its "
                   "last whole batch is not judged", err=True)
    result = judge(history, model, question.for_format(format))
    if format != "arrow":
        return list(result.all())
    return [*result.all(), check_stats(history), check_unhandled_exceptions(history),
            *checks_beside(file, history, search)]


def _plain(result: CheckResult) -> dict[str, object]:
    return {"name": result.name, "verdict": result.verdict.label, "summary": result.summary,
            "evidence": result.evidence, "text": result.text}


def _print(results: Sequence[CheckResult]) -> None:
    for result in results:
        click.echo(f"{result.name}: {result.verdict.label}: {result.summary}")
    for result in results:
        if result.text:
            click.echo(f"\n{result.text}")


def _check_index(index: Path, question: Question) -> int:
    began = time.monotonic()
    worker: AbstractContextManager[Porcupine | None] = contextlib.nullcontext()
    if question.engine not in ("monitor", "search") and porcupine_engine.available():
        worker = Porcupine(memory_limit_bytes=question.memory_limit_bytes)
    with worker as porcupine:
        report = judge_index(index, replace(question, porcupine=porcupine))
        version = porcupine.version if porcupine else "absent"
    _print_report(report)
    spent = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in _seconds(report).items())
    click.echo(f"engines: monitor, search, porcupine {version}; {time.monotonic() - began:.1f} s, "
               f"of it {spent}")
    return report.exit_code


def _seconds(report: Report) -> dict[str, float]:
    """Check time of each engine over all files."""
    total: dict[str, float] = {}
    for judged in report.agree + report.disagree + report.undecided + report.disputed:
        for result in judged.results:
            for name, engine in result.evidence.get("engines", {}).items():
                total[name] = total.get(name, 0.0) + engine.get("elapsed_s", 0.0)
    return total


def _print_report(report: Report) -> None:
    sections: tuple[tuple[str, list[Judged]], ...] = (
        ("DISAGREES", report.disagree), ("undecided", report.undecided),
        ("unreadable", report.unreadable), ("disputed, not counted", report.disputed))
    for title, rows in sections:
        for judged in rows:
            click.echo(f"{title}: {judged.row.file}: {judged.problem or 'agrees'}")
    agree = Counter((judged.row.source, judged.row.format, judged.row.model)
                    for judged in report.agree)
    for title, counted in (("agrees", agree), ("unsupported", report.unsupported)):
        for (source, format, model), count in sorted(counted.items()):
            click.echo(f"{title}: {count} of {source}: {format} ({model})")
    click.echo(f"{len(report.agree)} agree, {len(report.disagree)} disagree, "
               f"{len(report.undecided)} undecided, {len(report.unreadable)} unreadable, "
               f"{len(report.disputed)} disputed, {report.unsupported.total()} unsupported")
