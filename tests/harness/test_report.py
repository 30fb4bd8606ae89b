"""The report: self-contained, escaped, complete, and made from the folder alone."""
from __future__ import annotations

import html.parser
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seatrial.checker import CheckResult, Verdict
from seatrial.checker.history import History
from seatrial.checker.linearizable import check_linearizable
from seatrial.checker.transactions import check_transactions
from seatrial.harness import coverage, results, topology
from seatrial.harness.errors import BadInput
from seatrial.harness.report import figure, render_report
from seatrial.harness.report.domains import drawing
from seatrial.harness.store import RunFolder, Store
from seatrial.harness.testfile import load

from .fabricate import (
    NODES,
    STALE_EVIDENCE,
    Row,
    Strike,
    stale_read,
    strike_rows,
    voyage,
    write_history,
)

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
STALE = CheckResult("linearizable", Verdict.VIOLATION, "key k3 is not linearizable",
                    "process 7 read 7 too late", STALE_EVIDENCE)


class Page(html.parser.HTMLParser):
    """Elements, attributes and text of a page; refuses tags that are not closed in order."""

    VOID = frozenset({"meta", "br", "img", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: dict[str, str] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[self.elements[-1][1].get("id") or "main"] = data
        elif self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All that can be read."""
        return re.sub(r"\s+", " ", " ".join(self.texts))

    @property
    def ids(self) -> set[str | None]:
        """All that can be linked to."""
        return {attributes.get("id") for _, attributes in self.elements}

    def count(self, tag: str) -> int:
        """Return how many elements of a kind there are."""
        return sum(name == tag for name, _ in self.elements)


def make_run(root: Path, rows: list[Row] | None, *checks: CheckResult, test: str = "register",
             error: str | None = None) -> RunFolder:
    folder = Store(root).begin("register")
    history = None
    if rows is not None:
        write_history(folder.history, rows)
        history = History.read(folder.history)
    results.write_results(folder, results.build(
        history, checks, test=test, world="local", seed=7, nodes=NODES, error=error,
        command=["seatrial", "run", "my test.yml", "--seed", "7"], started="2025-11-21T22:49:13Z"))
    return folder


def page_of(folder: RunFolder) -> Page:
    return Page(render_report(folder).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Page:
    rows = voyage().rows()
    check = coverage.check(History.from_rows(rows), {"min_ok": 10_000, "min_clients": 10}, NODES)
    good = CheckResult("linearizable", Verdict.PASS, "20 keys: an order explains every answer")
    folder = make_run(tmp_path_factory.mktemp("store"), rows, good, check)
    (folder.node("n1") / "node.log").write_text("line one\n" + "x" * 9_000 + "\nlast words <b>\n")
    folder.write_json("test.json", {"name": "register", "clients": 12})
    return page_of(folder)


def test_a_passing_run_shows_verdict_seed_world_versions_and_how_to_run_it_again(
    passed: Page,
) -> None:
    for words in ("pass", "register", "seatrial run 'my test.yml' --seed 7", "local", "python",
                  "20 keys: an order explains every answer", "all 2 requirements met",
                  "other seeds than 7"):
        assert words in passed.text


def test_every_fault_is_listed_with_its_times_and_one_that_never_worked_says_so(
    passed: Page,
) -> None:
    assert "kill crash n1 5.000 5.050 8.000 8.300" in passed.text
    assert "pause timing n4 54.000 - 55.000 55.300 never took effect" in passed.text
    assert "faults that never took effect: 1 pause" in passed.text


def test_final_reads_errors_and_log_tails_are_there(passed: Page) -> None:
    assert "Final reads" in passed.text
    assert passed.text.index("k9 ") < passed.text.index("k10 ")
    assert "cas-mismatch" in passed.text
    assert "last words <b>" in passed.text
    assert "line one" not in passed.text


def test_nothing_in_a_report_is_fetched_from_anywhere(passed: Page) -> None:
    for tag, attributes in passed.elements:
        assert "src" not in attributes, tag
        assert attributes.get("href", "#").startswith("#")
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
    (policy,) = [attributes["content"] for tag, attributes in passed.elements
                 if attributes.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy


def test_the_bar_on_top_leads_to_sections_that_exist(passed: Page) -> None:
    ids = {attributes.get("id") for _, attributes in passed.elements}
    links = {attributes["href"] for tag, attributes in passed.elements if tag == "a"}
    assert links
    assert {f"#{id}" for id in ids} >= links


def test_the_plots_hold_the_run_and_a_band_for_each_effective_fault(passed: Page) -> None:
    drawn = json.loads(passed.scripts["figure"])
    names = {trace["name"] for trace in drawn["data"]}
    assert {"read ok", "write ok", "cas ok", "cas fail", "p50", "p99", "slowest"} <= names
    assert len(drawn["layout"]["shapes"]) == 3 * 11      # three rows, eleven effective faults
    colours = {shape["fillcolor"] for shape in drawn["layout"]["shapes"]}
    assert len(colours) == 7                             # seven names
    assert drawn["layout"]["xaxis"]["range"][0] == 0


def test_without_plotly_the_plots_are_drawings_and_the_page_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(figure, "library", lambda: None)
    page = page_of(make_run(tmp_path, voyage().rows()))
    assert "plotly is not installed" in page.text
    assert page.count("script") == 0
    assert "Latency percentiles" in page.text
    assert page.count("svg") == 2
    assert (tmp_path / "latest" / "report.html").stat().st_size < 1_000_000


def test_plotly_is_looked_for_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    figure.library.cache_clear()
    monkeypatch.setattr(figure.importlib.util, "find_spec", lambda _name: None)
    assert figure.library() is None
    figure.library.cache_clear()


def test_nothing_from_a_run_becomes_markup_or_script(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"process": 1, "f": EVIL, "type": "invoke", "key": EVIL.encode(), "value": EVIL,
         "time": 1, "node": 0},
        {"process": 1, "f": EVIL, "type": "fail", "key": EVIL.encode(), "value": EVIL, "time": 9,
         "error": EVIL, "node": 0},
        {"process": 2, "f": "read", "type": "invoke", "key": EVIL.encode(), "time": 2_000_000_000},
        {"process": 2, "f": "read", "type": "ok", "key": EVIL.encode(), "value": EVIL,
         "time": 2_000_000_009},
    ]
    rows[2:2] = strike_rows([Strike(EVIL, (EVIL,), 0.5, 0.9, kind=EVIL)])
    evidence: dict[str, Any] = {"key": EVIL, "reason": EVIL, "operation": {"invoked_row": 6},
                                "core": [{"invoked_row": 0}, {"invoked_row": 6}], EVIL: EVIL}
    folder = make_run(tmp_path, rows, CheckResult(EVIL, Verdict.VIOLATION, EVIL, EVIL, evidence),
                      test=EVIL, error=EVIL)
    (folder.node("n1") / "node.log").write_text(EVIL)
    folder.write_json("test.json", {"name": EVIL})
    plain = page_of(make_run(tmp_path, voyage().rows()))
    evil = page_of(folder)
    assert evil.count("script") == plain.count("script") == 3
    assert evil.count("img") == 0
    assert not any(name.startswith("on") for _, attributes in evil.elements
                   for name in attributes)
    assert EVIL in evil.text
    json.loads(evil.scripts["figure"])


def test_a_violation_is_drawn_with_the_operation_that_fits_nowhere(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path, stale_read(), STALE))
    assert "Counterexample: key k3" in page.text
    assert "p7's read -> 7 can't be placed: the value could only be 9 or 11" in page.text
    assert "All 3 operations on this key that ended before can be explained." in page.text
    assert "whatever value was there before" in page.text
    assert "process 7 read 7 too late" in page.text
    bars = [attributes.get("class") for tag, attributes in page.elements if tag == "rect"
            and str(attributes.get("class")).startswith("bar")]
    assert sorted(filter(None, bars)) == ["bar culprit", "bar pending", "bar pending",
                                          "bar placed", "bar placed", "bar placed"]
    assert "write 12 no answer" in page.text
    assert "cas 9→11 unknown" in page.text


def test_what_the_checker_finds_is_what_the_report_draws(tmp_path: Path) -> None:
    """The report reads the checker's evidence as it is, so the two can't drift apart."""
    rows = stale_read()
    check = check_linearizable(History.from_rows(rows), engine="search")
    assert check.verdict is Verdict.VIOLATION
    page = page_of(make_run(tmp_path, rows, check))
    assert "Counterexample: key k3" in page.text
    bars = [attributes["class"] for tag, attributes in page.elements if tag == "rect"
            and str(attributes.get("class")).startswith("bar")]
    assert bars.count("bar culprit") == 1
    assert len(bars) >= 3                         # at least two writes and the stale read
    assert "read → 7 ok 10.010500 10.012000 fits nowhere" in page.text
    assert "place 1" in page.text


def test_an_anomaly_of_transactions_is_drawn_as_a_cycle_of_the_guilty(tmp_path: Path) -> None:
    write_skew = [(0, [["r", "x", []], ["append", "y", 1]]),
                  (1, [["r", "y", []], ["append", "x", "<2>"]])]
    rows = [{"process": process, "type": type, "f": "txn", "value": value, "time": 0}
            for type in ("invoke", "ok") for process, value in write_skew]
    page = page_of(make_run(tmp_path, rows, check_transactions(
        History.from_rows(rows), "list-append", "serializable")))
    kinds = [str(attributes.get("class")) for _, attributes in page.elements]
    assert kinds.count("transaction") == 2
    assert kinds.count("step") == 3                       # two reasons, and the way back
    assert "G2: each comes before the next, and the last before the first" in page.text
    assert "rw: read y = nil, which the other overwrote with 1" in page.text
    assert "p1 r y → [], append x" in page.text
    assert "+-> p0 r x -> [], append y 1 (rows 0-2)" in page.text
    assert "p1 r y -> [], append x '<2>' (rows 1-3)" in page.text


@pytest.mark.parametrize("evidence", [
    {"anomalies": {"G1a": [{"transactions": [7], "cycle": []}, 7]}, "violated": ["G1a", "G2"]},
    {"anomalies": {"G1a": ["odd"]}, "violated": ["G1a"]}, {"anomalies": 7, "violated": []},
    {}, {"counterexamples": []}, {"counterexamples": ["odd"]}, {"core": "odd"},
    {"core": [{"invoked_row": 10**9}, {"invoked_row": -5}, {"invoked_row": "x"}, 7],
     "operation": "odd", "order_before": 7},
    {"core": [{"invoked_row": 1}]},                       # a completion, not an invocation
])
def test_evidence_that_draws_nothing_still_tells_the_story(
    tmp_path: Path, evidence: dict[str, Any],
) -> None:
    check = CheckResult("linearizable", Verdict.VIOLATION, "in a line", "the story", evidence)
    page = page_of(make_run(tmp_path, stale_read(), check))
    assert "in a line" in page.text
    assert "the story" in page.text


def test_a_run_that_broke_before_its_first_event_has_a_report(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path, None, error="n3: unreachable"))
    assert "n3: unreachable" in page.text
    assert "This run left no history" in page.text
    assert "harness-failure" in page.text


def test_a_tree_of_domains_is_drawn_and_where_there_is_none_nothing_is(
    tmp_path: Path, passed: Page,
) -> None:
    folder = make_run(tmp_path, None, error="n2: no route to host")
    spec = load(EXAMPLES / "domains-layers.yml")[1]
    folder.write_json("test.json", spec.model_dump(mode="json", by_alias=True))
    page = page_of(folder)
    tree = topology.draw(spec.topology.tree())
    assert tree in page.texts
    assert "└─ C(3/2)" in tree
    assert "domains" in page.ids
    assert "domains" not in passed.ids


@pytest.mark.parametrize("test", [
    b"", b"{", b"[]", b"{}", b'{"topology": null}', b'{"topology": {"domains": {"A": 7}}}',
    b'{"topology": {"domains": {"A": {"nodes": 1}}, "observer": 1}}'])
def test_whatever_a_broken_run_left_of_its_test_draws_nothing(test: bytes) -> None:
    assert drawing(test) == ""


def test_a_history_without_an_end_is_used_and_the_page_says_so(tmp_path: Path) -> None:
    folder = make_run(tmp_path, stale_read(), STALE)
    folder.history.write_bytes(folder.history.read_bytes()[:-8])
    page = page_of(folder)
    assert "its writer was killed" in page.text
    assert "Counterexample: key k3" in page.text


def test_a_history_that_contradicts_itself_is_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    folder = make_run(tmp_path, stale_read(), STALE)
    rows = stale_read()
    write_history(folder.history, rows[:1] + rows)
    page = page_of(folder)
    assert "process 3 invokes again before its last operation ended" in page.text
    assert "key k3 is not linearizable" in page.text


def test_the_command_makes_a_report_again_from_the_folder_alone(tmp_path: Path) -> None:
    folder = make_run(tmp_path, stale_read(), STALE)
    made = subprocess.run([sys.executable, "-m", "seatrial.harness.report", str(folder.path)],
                          check=True, capture_output=True, text=True)
    assert made.stdout.strip() == str(folder.report.resolve())
    assert "Counterexample: key k3" in page_of(folder).text


@pytest.mark.parametrize(("folder", "code", "complaint"), [
    ("missing", 254, "seatrial: Invalid value for 'FOLDER'"),
    (".", 254, "results.json: can't read"),
])
def test_the_command_refuses_a_folder_without_a_run_in_one_line(
    tmp_path: Path, folder: str, code: int, complaint: str,
) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "seatrial.harness.report", str(tmp_path / folder)],
        check=False, capture_output=True, text=True)
    assert made.returncode == code
    assert complaint in made.stderr
    assert made.stderr.count("\n") == 1


def test_results_that_are_not_ours_are_refused(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(BadInput, match=r"results\.json: expected a run's results\.json"):
        render_report(RunFolder(tmp_path))
