"""Puts the report together from a run's folder: results.json, and what else is there.

results.json is needed; the history, the test and the logs are used where they exist, since
the report of a run that broke is wanted most.
"""
from __future__ import annotations

import importlib.resources
import json
import shlex
from datetime import datetime
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup

from seatrial.checker.errors import CheckerError
from seatrial.checker.history import History

from ..coverage import LABELS
from ..progress import duration
from ..results import Fault, Results, read_results
from ..store import RunFolder
from . import figure, series
from .bands import Band, bands, legend
from .charts import charts
from .counterexample import stories
from .domains import drawing, tree_of
from .lag import lag_plot, measured
from .logs import log_tails
from .palette import fault_colour
from .proof import proved, unproved
from .tables import errors, final_reads
from .timeline import timeline
from .writes import sentences, standstills

MOST_EVIDENCE = 40_000         # characters of one check's evidence that go into the page


def page(folder: RunFolder) -> str:
    """Return the report as HTML."""
    results = read_results(folder.results)
    history, notes = _history(folder)
    context = _head(results) | _body(results, history, folder)
    context["notes"] = notes
    context["sections"] = _sections(context)
    return _template().render(context)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("seatrial.harness.report", "."), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=False)
    return environment.get_template("report.html.j2")


def _history(folder: RunFolder) -> tuple[History | None, list[str]]:
    """Return the history if it can be read, and what a reader must know about it."""
    if not folder.history.exists():
        return None, ["This run left no history: it broke before its first event."]
    try:
        history = History.read(folder.history)
        _ = history.pairs       # refuses a history that contradicts itself
    except CheckerError as error:
        return None, [f"The history can't be used: {error}"]
    if history.complete:
        return history, []
    return history, ["The history has no end: its writer was killed, and the last fraction of "
                     "a second may be missing."]


def _head(results: Results) -> dict[str, Any]:
    rates, counts = results.rates, results.operations
    effective = sum(fault.effective_ns is not None for fault in results.faults)
    passed = sum(check.verdict == "pass" for check in results.checks.values())
    return {
        "r": results,
        "css": Markup(_resource("report.css")),
        "headline": results.summary or _all_well(results),
        "tiles": [
            (f"{counts.ok:,}", "operations ok"),
            (f"{rates.ok_per_s:,.0f}/s", "throughput, ok"),
            (duration(rates.latency_p50_ns), "median latency"),
            (duration(rates.latency_p99_ns), "p99 latency"),
            (f"{effective} of {len(results.faults)}", "faults took effect"),
            (f"{results.leader_changes}", "leader changes"),
            (f"{passed} of {len(results.checks)}", "checks passed"),
        ],
        "facts": [(name, value) for name, value in (
            ("Started", _moment(results.started)), ("Lasted", duration(results.duration_ns)),
            ("World", results.world), ("Seed", str(results.seed)),
            ("Nodes", ", ".join(results.nodes)),
            ("Operations", f"{counts.invoke:,} invoked, {counts.ok:,} ok, {counts.fail:,} fail, "
                           f"{counts.info:,} info"),
            ("Versions", ", ".join(f"{name} {version}"
                                   for name, version in results.versions.items())),
            ("Commit", results.commit)) if value],
        "again": shlex.join(results.command),
        "proved": proved(results),
        "unproved": unproved(results),
    }


def _moment(started: str) -> str:
    """Return ISO 8601 as a person writes it, to the second; anything else as it is."""
    try:
        return f"{datetime.fromisoformat(started):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return started


def _all_well(results: Results) -> str:
    return "; ".join(f"{name}: {check.summary}" for name, check in results.checks.items()
                     if check.summary) or "No check found anything."


def _body(results: Results, history: History | None, folder: RunFolder) -> dict[str, Any]:
    seconds = max(results.duration_ns, 1) / 1e9
    faulty = bands(results.faults, results.duration_ns)
    left_out = 0
    reads: list[dict[str, Any]] = []
    if history is not None:
        reads, left_out = final_reads(history, results.nodes)
    told = stories(results, history)
    test = folder.test.read_bytes() if folder.test.exists() else b""
    stood = standstills(results, history, tree_of(test))
    return {
        "stories": told,
        "sequence": Markup(folder.sequence.read_text(encoding="utf-8"))
        if folder.sequence.exists() else None,
        "checks": _checks(results, {story.check for story in told}),
        "coverage": _coverage(results),
        "legend": legend(faulty),
        "timeline": timeline(results.nodes, results.leaders, faulty, seconds)
        if results.nodes else None,
        "leaders": results.leaders,
        "faults": _faults(results),
        "final_reads": reads,
        "final_reads_left": left_out,
        "errors": errors(history) if history is not None else [],
        "logs": log_tails(folder.nodes),
        "test": _text(test) if test else "",
        "domains": drawing(test),
        "measured": measured(results),
        "lag_plot": lag_plot(results, seconds),
        "standstills": stood,
        "stood_still": sentences(stood),
        "files": [path.name for path in (folder.results, folder.history, folder.test)
                  if path.exists()],
        "seconds": _seconds,
        **_plots(history, faulty, seconds),
    }


def _plots(history: History | None, faulty: list[Band], seconds: float) -> dict[str, Any]:
    """Return the plots: the figure for plotly where it is installed, else drawings."""
    nothing = {"plotted": False, "library": None, "figure": None, "charts": None,
               "plot_height": figure.HEIGHT}
    if history is None:
        return nothing
    operations = series.timed(history)
    if not len(operations.due):
        return nothing
    rows = (series.scatter(operations), series.percentiles(operations), series.rate(operations))
    library = figure.library()
    if library is None:
        return nothing | {"plotted": True, "charts": charts(*rows, faulty, seconds)}
    return nothing | {"plotted": True, "library": Markup(library),
                      "figure": _script_safe(figure.figure(*rows, faulty, seconds))}


def _script_safe(value: Any) -> Markup:
    """Return JSON that can stand in a <script>: nothing in it can end the element."""
    text = json.dumps(value, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _checks(results: Results, told: set[str]) -> list[dict[str, Any]]:
    return [
        {"name": name, "verdict": check.verdict, "summary": check.summary,
         "text": "" if name in told else check.text,
         "evidence": _text(msgspec.json.encode(check.evidence)) if check.evidence else ""}
        for name, check in results.checks.items()
    ]


def _text(data: bytes) -> str:
    """Return JSON indented, cut at a bounded length."""
    try:
        text = msgspec.json.format(data, indent=2).decode()
    except msgspec.DecodeError:
        text = data.decode(errors="replace")
    if len(text) <= MOST_EVIDENCE:
        return text
    return f"{text[:MOST_EVIDENCE]}\n... {len(text) - MOST_EVIDENCE:,} more characters"


def _coverage(results: Results) -> list[dict[str, Any]]:
    return [
        {"label": LABELS.get(name, name), "met": entry.get("met", True),
         "needed": _amount(entry.get("needed"), name), "got": _amount(entry.get("got"))}
        for name, entry in results.coverage.items()
    ]


def _amount(value: Any, requirement: str = "") -> str:
    """Return a number or a count by name as text; nothing for a requirement that isn't one."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items())
    if requirement and not value:
        return ""
    words = f"{value:,}" if isinstance(value, int | float) else str(value)
    return f"at most {words}" if requirement.startswith("max_") else words


def _faults(results: Results) -> list[dict[str, Any]]:
    """Return the fault table, with what the coverage check found in each window."""
    check = results.checks.get("coverage")
    windows = {window.get("fault"): window
               for window in (check.evidence.get("windows", []) if check else [])}
    return [_fault(fault, windows.get(fault.id, {})) for fault in results.faults]


def _fault(fault: Fault, window: dict[str, Any]) -> dict[str, Any]:
    ok = window.get("ok")
    return msgspec.structs.asdict(fault) | {
        "colour": fault_colour(fault.name), "ok": "" if ok is None else f"{ok:,}",
        "majority": window.get("majority")}


def _seconds(time_ns: int | None) -> str:
    return "-" if time_ns is None else f"{time_ns / 1e9:.3f}"


def _sections(context: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the links of the bar on top, for what the page has."""
    every = [("counterexample", "Counterexample", "stories"), ("sequence", "Sequence", "sequence"),
             ("checks", "Checks", "checks"),
             ("proof", "Proof", "proved"), ("coverage", "Coverage", "coverage"),
             ("plots", "Plots", "plotted"), ("domains", "Domains", "domains"),
             ("timeline", "Timeline", "timeline"),
             ("faults", "Faults", "faults"), ("final", "Final reads", "final_reads"),
             ("errors", "Errors", "errors"), ("logs", "Logs", "logs"), ("test", "Test", "test")]
    return [(id, name) for id, name, needs in every if context[needs]]


def _resource(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
