"""Each guarantee of domains, told by a few operations: kept, and broken in each way it can be.

A is the root; B its async child; C a sync child that may be excluded; D, below C, one that may not.
"""
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from seatrial.checker import CheckerError, CheckResult, History, Verdict
from seatrial.checker.domains import Guarantee, Guarantees, check_domains, guarantees_of
from seatrial.checker.history import metadata

MS = 1_000_000
TREE = Guarantees([
    Guarantee("A", nodes=("n1", "n2", "n3")),
    Guarantee("B", "A", "async", max_lag_ns=100 * MS, max_lag_entries=50, settle_ns=500 * MS,
              fence_ns=50 * MS, nodes=("n4",)),
    Guarantee("C", "A", "sync", max_lag_ns=100 * MS, settle_ns=500 * MS, fence_ns=50 * MS,
              nodes=("n5", "n6")),
    Guarantee("D", "C", "sync", exclusion="block", fence_ns=50 * MS, nodes=("n7",)),
])
A, B, C, D = range(4)


class Tale:
    """Events, one after the other, a millisecond apart unless time is told to pass."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.now_ms = 1000

    def begin(self, process: int, f: str, value: Any = None, domain: int = A, key: str = "x",
              token: int | None = None) -> Tale:
        return self._row(type="invoke", process=process, f=f, value=value, domain=domain,
                         key=key.encode(), rindex=token)

    def end(self, process: int, value: Any = None, type: str = "ok", rindex: int | None = None,
            confirmed: str | None = None, error: str | None = None) -> Tale:
        begun = next(row for row in reversed(self.rows)
                     if row["process"] == process and row["type"] == "invoke")
        if begun["f"] == "write":
            value = begun["value"]
        return self._row(type=type, process=process, f=begun["f"], value=value, key=begun["key"],
                         domain=begun["domain"], rindex=rindex, confirmed=confirmed, error=error)

    def write(self, value: int, rindex: int | None = None, confirmed: str | None = None,
              key: str = "x", process: int = 0) -> Tale:
        return self.begin(process, "write", value, A, key).end(process, rindex=rindex,
                                                               confirmed=confirmed)

    def read(self, value: Any, domain: int, f: str = "read", rindex: int | None = None,
             token: int | None = None, key: str = "x", process: int = 1,
             confirmed: str | None = None) -> Tale:
        return self.begin(process, f, None, domain, key, token).end(process, value, rindex=rindex,
                                                                    confirmed=confirmed)

    def refused(self, domain: int, error: str, f: str = "read", token: int | None = None,
                process: int = 1) -> Tale:
        return self.begin(process, f, None, domain, "x", token).end(process, None, "fail",
                                                                    error=error)

    def nemesis(self, f: str, **value: Any) -> Tale:
        return self._row(type="info", process=-1, f=f, value=value)

    def fault(self, phase: str, **more: Any) -> Tale:
        return self.nemesis("domain-cut", id="f1", phase=phase, **more)

    def passes(self, ms: int) -> Tale:
        self.now_ms += ms
        return self

    def _row(self, **row: Any) -> Tale:
        self.now_ms += 1
        self.rows.append({"time": self.now_ms * MS, **row})
        return self

    def history(self) -> History:
        return History.from_rows(self.rows)

    def broken(self) -> dict[str, CheckResult]:
        """What is broken, by guarantee."""
        results = check_domains(self.history(), TREE, engine="monitor")
        assert len({result.name for result in results}) == len(results)
        return {result.name.removeprefix("domain-"): result for result in results
                if result.verdict not in (Verdict.PASS, Verdict.NO_COVERAGE)}


CUT = {"targets": ["n5", "n6"], "grudge": {
    "n5": ["n1", "n2", "n3", "n4", "n7"], "n6": ["n1", "n2", "n3", "n4", "n7"]}}


def culprits(result: CheckResult) -> list[tuple[int, int | None]]:
    """The rows of the operations that were found guilty."""
    return [(one["operation"]["invoked_row"], one["operation"]["completed_row"])
            for one in result.evidence["counterexamples"]]


# --- linearizable reads, in every domain -----------------------------------------------------

def test_a_tree_that_keeps_its_promises_passes() -> None:
    tale = Tale()
    for i in range(1, 6):
        tale.write(i, rindex=i, confirmed="A C D").read(i, C, rindex=i).read(i, D, rindex=i)
        tale.read(i - 1 or None, B, "read-prefix", rindex=i - 1).read(i, A, rindex=i)
    assert tale.broken() == {}


def test_a_read_in_a_sync_domain_shows_what_was_acknowledged_before_it_began() -> None:
    tale = Tale().write(1).write(2, confirmed="A C D").read(1, C)
    broken = tale.broken()
    assert set(broken) == {"visibility", "linearizable"}
    found = broken["visibility"]
    assert culprits(found) == [(4, 5)]
    assert "p1's read -> 1 in C (rows 4-5) does not show p0's write 2 in A (rows 2-3), which had " \
           "been acknowledged 1 ms before the read began" in found.summary
    assert "write 2 replaced 1: it began after 1 had been acknowledged (row 1, at 1.002 s)" \
        in found.text
    assert "in C, too old" in found.text


def test_a_read_that_overlaps_the_write_may_show_either() -> None:
    for value in (1, 2):
        tale = Tale().write(1).begin(0, "write", 2).read(value, C).end(0)
        assert tale.broken() == {}


def test_what_was_shown_in_one_domain_is_not_hidden_in_another() -> None:
    tale = Tale().write(1).begin(0, "write", 2).read(2, C).read(1, D, process=2).end(0)
    assert set(tale.broken()) == {"visibility", "linearizable"}


def test_a_retried_write_names_the_coordinates_of_its_retry() -> None:
    """It was executed before, so answers of writes that overlap don't tell their order."""
    for value in (1, 2):
        tale = Tale().begin(0, "write", 1).begin(2, "write", 2).end(0, rindex=5).end(2, rindex=4)
        assert tale.read(value, C, rindex=6).broken() == {}


def test_coordinates_of_reads_order_writes_that_overlap() -> None:
    tale = Tale().begin(0, "write", 1).begin(2, "write", 2)
    tale.read(1, B, "read-prefix", rindex=4).read(2, B, "read-prefix", rindex=7)
    found = tale.read(1, C).end(0).end(2).broken()
    assert "visibility" in found
    assert "holds 1 at rindex 4, and what replaced it at 7" in found["visibility"].text


def test_a_linearizable_read_reflects_all_that_had_been_shown() -> None:
    tale = Tale().write(1, rindex=7).read(None, B, "read-prefix", rindex=3, key="y")
    tale.read(None, C, rindex=6, key="y")
    found = tale.broken()["visibility"]
    assert "reflects rindex 6, but 7 had been shown before it began" in found.summary


# --- states of the root, committed -----------------------------------------------------------

def test_what_a_domain_shows_was_committed() -> None:
    tale = Tale().write(1).begin(0, "write", 2).read(2, B, "read-prefix")
    tale.end(0, type="info").read(1, A)
    broken = tale.broken()
    assert set(broken) == {"committed", "visibility"}
    assert "showed what was not committed" in broken["committed"].summary


def test_what_a_domain_shows_was_written() -> None:
    found = Tale().write(1).read(9, B, "read-prefix").broken()
    assert set(found) == {"prefix"}
    assert "shows 9, but nobody wrote it" in found["prefix"].summary
    tale = Tale().write(1).begin(0, "write", 2).end(0, type="fail").read(2, B, "read-prefix")
    assert "had failed (rows 2-3)" in tale.broken()["prefix"].summary
    tale = Tale().read(2, B, "read-prefix").write(2)
    assert "before p0's write 2" in tale.broken()["prefix"].summary


def test_the_state_at_a_rindex_is_the_same_in_every_domain() -> None:
    tale = Tale().write(1, rindex=1).begin(0, "write", 2).end(0, type="info", rindex=None)
    tale.read(2, B, "read-prefix", rindex=4).read(1, C, "read-prefix", rindex=4, process=2)
    found = tale.broken()
    assert "prefix" in found
    assert "holds 1 at rindex 4" in found["prefix"].summary
    assert "holds 2 at 4" in found["prefix"].summary


def test_a_state_holds_nothing_that_stands_behind_it() -> None:
    tale = Tale().write(7, rindex=5, key="y").begin(0, "write", 1)
    tale.read(1, B, "read-prefix", rindex=4)
    assert "shows at rindex 4 what stands at 6 or behind" in tale.broken()["prefix"].summary


def test_a_state_holds_all_that_stands_before_it() -> None:
    tale = Tale().write(1, rindex=1).write(2, rindex=4).read(1, B, "read-prefix", rindex=5)
    found = tale.broken()
    assert set(found) == {"prefix"}
    assert "holds 1 at rindex 5, but p0's write 2" in found["prefix"].summary
    assert Tale().write(1, rindex=1).write(2, rindex=4).read(
        1, B, "read-prefix", rindex=3).broken() == {}


def test_what_a_failed_compare_and_set_saw_is_a_read() -> None:
    def tale(seen: int) -> Tale:
        first = Tale().write(1, rindex=1).write(2, rindex=2).begin(0, "cas", [7, 3])
        return first.end(0, [7, 3, seen], "fail", rindex=2, error="mismatch")

    assert tale(2).broken() == {}
    assert "visibility" in tale(1).broken()


def test_a_compare_and_set_that_failed_and_was_asked_again_stands_before_its_answer() -> None:
    """The second copy is answered what the first one saw, with coordinates of its own."""
    tale = Tale().write(1, rindex=1).begin(2, "cas", [7, 3]).write(2, rindex=5)
    tale.end(2, [7, 3, 1], "fail", rindex=9, error="mismatch")
    assert tale.read(2, B, "read-prefix", rindex=5).broken() == {}


def test_no_two_writes_have_the_same_coordinates() -> None:
    tale = Tale().begin(0, "write", 1).begin(2, "write", 2, key="y")
    found = tale.end(0, rindex=5).end(2, rindex=5).broken()
    assert set(found) == {"coordinates"}
    assert "both stand at rindex 5" in found["coordinates"].summary


def test_a_write_stands_behind_what_was_there_before_it_began() -> None:
    found = Tale().write(1, rindex=5).write(2, rindex=4, key="y").broken()
    assert set(found) == {"coordinates"}
    assert "stands at rindex 4, although 5 had been shown" in found["coordinates"].summary


# --- sessions --------------------------------------------------------------------------------

def test_a_read_shows_every_write_up_to_its_token() -> None:
    tale = Tale().write(1, rindex=1).write(2, rindex=2)
    assert tale.read(2, B, "read-prefix", token=2).broken() == {}
    found = Tale().write(1, rindex=1).write(2, rindex=2).read(1, B, "read-prefix", token=2).broken()
    assert set(found) == {"session"}
    assert "token of rindex 2, but does not show p0's write 2" in found["session"].summary


def test_an_answer_is_not_older_than_its_token() -> None:
    tale = Tale().write(1, rindex=8, key="y").read(None, B, "read-prefix", rindex=7, token=8)
    found = tale.broken()
    assert set(found) == {"session"}
    assert "reflects rindex 7, but was sent with a token of 8" in found["session"].summary


def test_without_a_token_a_session_may_go_back() -> None:
    tale = Tale().write(1).write(2).read(2, B, "read-prefix").read(1, B, "read-prefix")
    assert tale.broken() == {}


def test_a_session_does_not_go_back_on_one_key() -> None:
    tale = Tale().write(1).begin(0, "write", 2).read(2, B, "read-prefix", token=0)
    found = tale.read(1, B, "read-prefix", token=0).end(0).broken()
    assert set(found) == {"session"}
    assert "goes back to 1: its session had seen p1's read -> 2" in found["session"].summary


def test_a_session_sees_one_order_of_all_keys() -> None:
    """It saw y = 2, which began after x = 1 was there; so it can't miss x = 1 afterwards."""
    tale = Tale().write(1).write(2, key="y").read(2, B, "read-prefix", key="y", token=0)
    found = tale.read(None, C, "read-prefix", token=0).broken()
    assert set(found) == {"session"}
    assert culprits(found["session"]) == [(6, 7)]
    assert "key x" in found["session"].text


def test_a_token_can_not_cover_what_does_not_say_where_it_stands() -> None:
    def tale(rindex: int | None) -> Tale:
        told = Tale().write(1, rindex=1).read(1, A, rindex=1, process=2).write(2, rindex=2)
        told.begin(2, "cas", [7, 3]).end(2, [7, 3, 2], "fail", rindex=rindex, error="mismatch")
        return told.read(1, B, "read-prefix", rindex=1, token=1, process=2)

    assert tale(2).broken() == {}, "its token is of before"
    assert tale(None).broken() == {}


# --- lag -------------------------------------------------------------------------------------

def test_lag_is_judged_against_the_bound_and_measured() -> None:
    fine = Tale().write(1).write(2).passes(80).read(1, B, "read-prefix")
    assert fine.broken() == {}
    late = Tale().write(1).write(2).passes(150).read(1, B, "read-prefix")
    found = late.broken()
    assert set(found) == {"lag"}
    assert "is 151 ms old, but B is to be at most 100 ms behind: it does not show p0's write 2" \
        in found["lag"].summary
    table = check_domains(late.history(), TREE)[0].evidence["domains"][B]
    assert table["lag"]["age_ns"]["max"] == 151 * MS
    assert table["lag"]["entries"]["max"] == 1


def test_lag_by_coordinates_counts_other_keys_too() -> None:
    tale = Tale().write(1, rindex=1).write(2, rindex=2, key="y").passes(150)
    found = tale.read(1, B, "read-prefix", rindex=1).broken()
    assert set(found) == {"lag"}
    assert "reflects rindex 1, and p0's write 2 in A (rows 2-3) reflected 2" in found["lag"].summary


def test_lag_in_entries() -> None:
    tale = Tale().write(1, rindex=1).write(2, rindex=60, key="y")
    found = tale.read(1, B, "read-prefix", rindex=1).broken()
    assert set(found) == {"lag"}
    assert "is 59 entries behind, but B is to be at most 50 entries behind" in found["lag"].summary


def test_no_bound_holds_in_a_fault_nor_until_it_has_settled() -> None:
    def tale(settled_ms: int, **hits: Any) -> Tale:
        told = Tale().write(1).fault("requested", **hits).fault("effective", **hits).write(2)
        told.passes(150).read(1, B, "read-prefix")
        told.fault("ended").fault("recovered").passes(settled_ms)
        return told.read(1, B, "read-prefix")

    assert tale(400, targets=["n4"]).broken() == {}
    assert tale(400, domains=["B"]).broken() == {}
    assert tale(400, targets=["n1"]).broken() == {}, "the root is on its way"
    assert set(tale(550, targets=["n4"]).broken()) == {"lag"}
    assert set(tale(400, targets=["n7"]).broken()) == {"lag"}, "a fault of another domain"
    assert set(tale(400, domains=["C"]).broken()) == {"lag"}
    assert tale(400, targets=["n4"], grudge={"n1": ["n4"]}).broken() == {}
    assert set(tale(400, targets=["n5"], grudge={"n1": ["n5"], "n5": ["n1"]}).broken()) == {
        "lag"}, "a cut between others"


def test_an_excluded_domain_has_no_bound() -> None:
    tale = Tale().write(1).nemesis("domain", domain="C", state="excluded").passes(900).write(2)
    tale.passes(900).read(1, C, "read-prefix")
    assert tale.broken() == {}
    tale.nemesis("domain", domain="C", state="included").passes(600)
    assert set(tale.read(1, C, "read-prefix").broken()) == {"lag"}


def test_a_bounded_read_keeps_its_bound_or_is_refused_whatever_happens() -> None:
    tale = Tale().write(1).fault("requested", targets=["n4"]).fault("effective", targets=["n4"])
    tale.write(2).passes(150).refused(B, "too old", "read-bounded")
    assert tale.broken() == {}
    found = tale.read(1, B, "read-bounded").broken()
    assert set(found) == {"bounded"}
    assert "not older than its bound, or refused" in found["bounded"].text


def test_a_bound_of_its_own_counts_instead_of_the_domains() -> None:
    def aged(ms: int, domain: int, bound_ms: int | None) -> dict[str, CheckResult]:
        told = Tale().write(1).write(2).passes(ms)
        return told.begin(1, "read-bounded", bound_ms, domain).end(1, 1).broken()

    assert aged(40, B, 50) == {}
    assert aged(40, D, 50) == {}
    assert aged(40, D, None) == {}, "nobody says a bound"
    for domain, bound_ms in ((B, 30), (D, 30), (A, 30)):
        found = aged(40, domain, bound_ms)
        assert set(found) == {"bounded"}
        assert "is 41 ms old, but was to be at most 30 ms old" in found["bounded"].summary
    assert aged(140, B, 200).keys() == set(), "who asks for a wider bound gets one"


def test_a_bounded_read_may_name_a_bound_in_entries() -> None:
    def behind(entries: int, bound: Any, f: str = "read-bounded", ms: int = 20) -> str:
        told = Tale().write(1, rindex=7).write(2, rindex=7 + entries, key="y").passes(ms)
        broken = told.begin(1, f, bound, B).end(1, 1, rindex=7).broken()
        assert broken.keys() <= {"bounded"}
        return broken["bounded"].summary if broken else ""

    assert behind(20, {"entries": 20}) == ""
    assert "is 21 entries behind, but was to be at most 20 entries behind: it reflects rindex 7, " \
        "and p0's write 2" in behind(21, {"entries": 20})
    assert "1 entry behind, but was to be at most 0 entries behind" in behind(1, {"entries": 0})
    assert behind(30, {"entries": 30, "ms": 30}) == ""
    assert "31 entries behind" in behind(31, {"entries": 30, "ms": 30})
    assert "is 41 ms old, but was to be at most 30 ms old" in behind(
        9, {"entries": 30, "ms": 30}, ms=40)
    assert behind(30, 50) == behind(30, None) == "", "these bound time alone"
    assert behind(30, {"ms": 50}) == ""


def test_a_bound_in_entries_is_judged_by_values_where_there_are_no_coordinates() -> None:
    def bounded(entries: int) -> Tale:
        told = Tale().write(1).write(2).write(3)
        return told.begin(1, "read-bounded", {"entries": entries}, B).end(1, 1)

    assert bounded(2).broken() == {}
    assert set(bounded(1).broken()) == {"bounded"}


@pytest.mark.parametrize("bound", [{}, {"ms": -1}, {"ms": 1 << 40}, {"entries": 1.5}, {"bytes": 3},
                                   [5], "5", {"entries": True}])
def test_a_bound_that_is_none_is_refused(bound: Any) -> None:
    tale = Tale().write(1).begin(1, "read-bounded", bound, B).end(1, 1)
    with pytest.raises(CheckerError, match=r"history:3: read-bounded .*expected a bound"):
        tale.broken()


def test_a_bound_is_judged_by_clocks_that_may_be_slow() -> None:
    tree = Guarantees([TREE.root, replace(TREE.by_name["B"], drift=0.2)])

    def verdict(ms: int) -> Verdict:
        told = Tale().write(1).write(2).passes(ms)
        told.begin(1, "read-bounded", 80, B).end(1, 1)
        return next(result.verdict for result in check_domains(told.history(), tree)
                    if result.name == "domain-bounded")

    assert verdict(95) is Verdict.PASS, "80 ms by a clock that is 20 % slow are 100"
    assert verdict(105) is Verdict.VIOLATION


# --- fences, losses, confirmations -----------------------------------------------------------

def test_a_domain_that_is_cut_off_refuses_linearizable_reads() -> None:
    tale = Tale().write(1).fault("requested", **CUT).fault("effective", **CUT)
    tale.read(1, C).passes(60).refused(C, "fenced").refused(D, "fenced").read(1, A)
    assert tale.broken() == {}, "its lease may still hold at first"
    for domain, confirmed in ((C, None), (D, "D")):         # (D can still ask A)
        told = Tale()
        told.rows, told.now_ms = list(tale.rows), tale.now_ms
        told.read(1, domain, confirmed=confirmed)
        told.nemesis("domain-cut", action="stop", id="f1").read(1, domain).fault("ended")
        found = told.broken()
        assert set(found) == {"fencing"}
        assert found["fencing"].evidence["broken"] == 1
        assert "although" in found["fencing"].summary
        assert "cut off by domain-cut" in found["fencing"].summary


def test_a_domain_whose_link_alone_is_cut_may_ask_the_root() -> None:
    """D is cut from C, but not from A; so is C from A, which B could help out."""
    for domain, name, hits in (
            (D, "D", {"grudge": {"n7": ["n5", "n6"]}}),
            (C, "C", {"grudge": {"n5": ["n1", "n2", "n3"], "n6": ["n1", "n2", "n3"]}})):
        tale = Tale().write(1).fault("requested", **hits).fault("effective", **hits).passes(60)
        assert tale.read(1, domain).read(1, domain, confirmed=f"A {name}").broken() == {}
        assert set(tale.read(1, domain, confirmed=name).broken()) == {"fencing"}


@pytest.mark.parametrize(("over", "fenced"), [(True, True), (False, False)])
def test_a_domain_that_may_have_another_parent_is_not_fenced_by_a_cut_of_its_link(
    over: bool, fenced: bool,
) -> None:
    """C is cut from A; while it is B's child, its entries come by B."""
    hits = {"grudge": {"n5": ["n1", "n2", "n3"], "n6": ["n1", "n2", "n3"]}}
    tale = Tale().write(1).nemesis("domain-reparent", phase="requested", id="r", targets=["n5"])
    if over:
        tale.nemesis("domain-reparent", phase="ended", id="r", targets=["n5"])
        tale.nemesis("domain-reparent", phase="recovered", id="r", targets=["n5"])
    tale.passes(1).fault("requested", **hits).fault("effective", **hits).passes(60)
    assert set(tale.read(1, C, confirmed="C").broken()) == ({"fencing"} if fenced else set())


def test_a_cut_that_leaves_one_way_for_the_link_fences_nobody() -> None:
    hits = {"targets": ["n5"], "grudge": {"n5": ["n1", "n2", "n3"], "n6": ["n1", "n2"]}}
    tale = Tale().write(1).fault("requested", **hits).fault("effective", **hits)
    assert tale.passes(60).read(1, C).broken() == {}


def test_a_domain_that_is_told_to_be_fenced_answers_no_linearizable_read() -> None:
    tale = Tale().write(1).nemesis("domain", domain="C", state="fenced").refused(C, "fenced")
    tale.read(1, C, "read-prefix")
    assert tale.broken() == {}
    assert set(tale.read(1, C).broken()) == {"fencing"}


def test_an_excluded_domain_asks_the_root() -> None:
    tale = Tale().write(1, confirmed="A C D").nemesis("domain", domain="C", state="excluded")
    tale.write(2, confirmed="A D").read(2, C, confirmed="A C").write(3, confirmed="A D")
    assert "fencing" not in tale.broken()
    tale = Tale().write(1, confirmed="A C D").nemesis("domain", domain="C", state="excluded")
    tale.write(2, confirmed="A D").read(2, C, confirmed="C").write(3, confirmed="A D")
    assert "by itself" in tale.broken()["fencing"].summary


def test_lost_is_answered_only_after_a_declared_loss() -> None:
    tale = Tale().write(1, rindex=5).refused(B, "lost", "read-prefix", token=5)
    found = tale.broken()
    assert set(found) == {"lost"}
    assert "p1's read-prefix in B (rows 2-3), sent with a token of rindex 5" in found["lost"].text
    assert found["lost"].evidence["wrong"] == [found["lost"].text]
    tale = Tale().write(1, rindex=5).nemesis("data-loss", rindex=3)
    assert tale.refused(B, "lost", "read-prefix", token=5).broken() == {}
    found = tale.refused(B, "lost: no such entry", "read-prefix", token=3).broken()
    assert "begins behind 3" in found["lost"].text


@pytest.mark.parametrize(("confirmed", "why"), [
    ("A C D", ""), ("A", ""), ("A C", "D must confirm every write"),
    ("C D", "the root itself is not among them")])
def test_who_confirmed_is_who_had_to(confirmed: str, why: str) -> None:
    """C may be excluded, and D with it; but where C counts, D does."""
    found = Tale().write(1, confirmed=confirmed).broken()
    assert set(found) == ({"confirmation"} if why else set())
    assert not why or why in found["confirmation"].summary


def test_a_change_of_the_tree_excuses_who_does_not_confirm() -> None:
    tale = Tale().nemesis("domain", domain="D", state="removed").write(1, confirmed="A C")
    assert tale.broken() == {}


def confirmation(tale: Tale) -> str:
    """What is said against who confirmed; nothing: nothing. (No other guarantee is broken.)"""
    broken = tale.broken()
    assert broken.keys() <= {"confirmation"}
    return broken["confirmation"].summary if broken else ""


def changing(tale: Tale, phase: str, kind: str = "domain-exclude", hits: str = "n7",
             id: str = "t") -> Tale:
    return tale.nemesis(kind, id=id, phase=phase, targets=hits.split())


def changed(kind: str = "domain-exclude", hits: str = "n7") -> Tale:
    """The tree was changed and changed back; D has not confirmed yet."""
    tale = Tale().write(1, confirmed="A C D")
    for phase in ("requested", "effective"):
        changing(tale, phase, kind, hits)
    tale.write(2, confirmed="A C").nemesis(kind, action="stop", id="t")
    changing(tale, "ended", kind, hits).write(3, confirmed="A C")
    return changing(tale, "recovered", kind, hits)


@pytest.mark.parametrize(("kind", "hits"), [
    ("domain-exclude", "n7"), ("domain-exclude", "n5 n6"), ("domain-mode", "n7"),
    ("domain-policy", "n1 n2 n3"), ("domain-policy", "n5 n6"), ("domain-reparent", "n5 n6"),
    ("domain-leave", "n7"), ("domain-exclude", "n1 n2 n3 n4 n5 n6 n7"), ("domain-mode", "")])
def test_a_domain_that_is_back_after_a_change_of_the_tree_must_confirm_again(
    kind: str, hits: str,
) -> None:
    """Be it of the domain, of what is above it, of a policy above it, or of who knows whom."""
    tale = changed(kind, hits).write(4, confirmed="A C")
    assert confirmation(tale) == "", "it was not seen to be back"
    assert confirmation(tale.write(5, confirmed="A C D")) == ""
    row = len(tale.rows)
    said = confirmation(tale.write(6, confirmed="A C"))
    assert f"p0's write 6 in A (rows {row}-{row + 1}) was acknowledged, confirmed by A and C: D " \
        "must confirm every write" in said
    assert f"D must confirm every write; its mode is block, so it is never excluded. It was back " \
        f"after a change of the tree when p0's write 5 in A (rows {row - 2}-{row - 1}) was " \
        "acknowledged" in said


@pytest.mark.parametrize(("kind", "hits"), [
    ("domain-exclude", "n4"), ("domain-policy", "n4"), ("domain-reparent", "n4"),
    ("domain-cut", "n7")])
def test_a_change_of_another_domain_excuses_nobody(kind: str, hits: str) -> None:
    tale = Tale().write(1, confirmed="A C D")
    changing(tale, "effective", kind, hits)
    assert "D must confirm every write" in confirmation(tale.write(2, confirmed="A C"))


def test_the_root_is_excused_by_nothing() -> None:
    tale = changing(Tale().write(1, confirmed="A C D"), "effective", hits="n1 n2 n3 n5 n6 n7")
    assert "the root itself is not among them" in confirmation(tale.write(2, confirmed="C D"))


def test_a_write_that_overlaps_a_change_of_the_tree_is_excused_at_either_end() -> None:
    tale = Tale().begin(2, "write", 9, key="y")
    changing(tale, "requested").end(2, confirmed="A C")
    assert confirmation(tale) == ""
    tale = changed().begin(2, "write", 9, key="y").write(4, confirmed="A C D")
    assert confirmation(tale.end(2, confirmed="A C")) == "", "it may stand before the inclusion"
    tale = changed().begin(2, "write", 9, key="y").begin(3, "write", 8, key="z")
    tale.end(2, confirmed="A C D").begin(2, "write", 7, key="y")
    assert confirmation(tale.end(3, confirmed="A C").end(2, confirmed="A C D")) == ""
    tale = Tale().begin(2, "write", 9, key="y").end(2, confirmed="A C")
    assert "D must" in confirmation(changing(tale, "requested")), "it was over before"


def test_a_confirmation_of_a_write_that_began_in_the_change_shows_nothing() -> None:
    tale = Tale().write(1, confirmed="A C D")
    changing(tale, "requested").begin(2, "write", 9, key="y")
    changing(tale, "recovered").end(2, confirmed="A C D")
    assert confirmation(tale.write(2, confirmed="A C")) == ""


@pytest.mark.parametrize("phases", [
    ("requested",), ("requested", "effective"), ("requested", "effective", "ended"),
    ("requested", "ineffective"), ("requested", "effective", "ended", "unrecovered"),
    ("requested", "effective", "unrecovered")])
def test_what_was_not_taken_back_for_sure_excuses_to_the_end(phases: tuple[str, ...]) -> None:
    """One that was never seen to work may work all the same, and an end is no recovery."""
    tale = Tale().write(1, confirmed="A C D")
    for phase in phases:
        changing(tale, phase)
    tale.passes(9000).write(2, confirmed="A C D").passes(9000).write(3, confirmed="A C D")
    assert confirmation(tale.write(4, confirmed="A C")) == ""


def test_one_change_excuses_until_another_one_is_taken_back_too() -> None:
    tale = changing(changing(Tale(), "effective"), "effective", "domain-mode", "n5 n6", "u")
    changing(tale, "recovered").write(1, confirmed="A C D")
    assert confirmation(tale.write(2, confirmed="A C")) == ""
    changing(tale, "recovered", "domain-mode", "n5 n6", "u").write(3, confirmed="A C")
    assert confirmation(tale.write(4, confirmed="A C D")) == ""
    changing(tale, "requested", id="v").write(5, confirmed="A C")
    assert confirmation(changing(tale, "recovered", id="v").write(6, confirmed="A C")) == ""
    assert "D must" in confirmation(tale.write(7, confirmed="A C D").write(8, confirmed="A C"))


def test_a_change_of_the_tree_that_found_nobody_excuses_nobody() -> None:
    assert "D must" in confirmation(Tale().write(1, confirmed="A C"))
    never = Tale().nemesis("domain-reparent", phase="impossible")
    assert "D must" in confirmation(never.write(1, confirmed="A C"))
    none = changing(changing(Tale(), "requested", hits=""), "ineffective", hits="")
    assert "D must" in confirmation(none.write(1, confirmed="A C"))
    somebody = changing(Tale(), "requested", hits="").write(1, confirmed="A C")
    assert confirmation(somebody) == ""


def test_events_of_one_domain_excuse_it_until_it_is_included_and_back() -> None:
    tale = Tale().nemesis("domain", domain="C", state="excluded").write(1, confirmed="A C")
    tale.nemesis("domain", domain="C", state="fenced").write(2, confirmed="A C D")
    tale.nemesis("domain", domain="C", state="included").write(3, confirmed="A C")
    assert confirmation(tale) == ""
    assert "D must" in confirmation(tale.write(4, confirmed="A C D").write(5, confirmed="A C"))


def test_one_right_below_the_root_is_back_once_it_was_named_for_its_settling_time() -> None:
    """It may be named because it was quick, and not count yet."""
    tree = Guarantees([TREE.root, Guarantee("B", "A", "sync", exclusion="block", nodes=("n4",),
                                            settle_ns=800 * MS)])

    def verdict(named: str, every_ms: int = 98) -> Verdict:
        tale = changing(changing(Tale(), "effective", hits="n4"), "recovered", hits="n4")
        for i, letter in enumerate(named):
            tale.passes(every_ms).write(i, confirmed="A B" if letter == "B" else "A")
        results = {one.name: one.verdict for one in check_domains(tale.history(), tree)}
        return results["domain-confirmation"]

    assert verdict("BBBBBBBB-") is Verdict.PASS, "700 ms"
    assert verdict("BBBBBBBBB-") is Verdict.VIOLATION, "800 ms"
    assert verdict("BBBBBB-BBB-BBBBBBBB-") is Verdict.PASS
    assert verdict("---BBBBB-BBBBBBBBB-") is Verdict.VIOLATION
    assert verdict("BBBBBBBB-", 5000) is Verdict.PASS, "in silence nothing shows"
    assert verdict("BBBBBBBBB-", 5000) is Verdict.VIOLATION


@pytest.mark.parametrize(("kind", "hits", "excused"), [
    ("domain-exclude", "b", True), ("domain-leave", "b", True), ("domain-policy", "a", True),
    ("domain-reparent", "e", True), ("domain-mode", "e", True), ("domain-exclude", "e", False)])
def test_any_k_of_some_counts_who_is_not_excused(kind: str, hits: str, excused: bool) -> None:
    """Another child of theirs may stand in for one of them."""
    tree = Guarantees([
        Guarantee("A", policy="any 2 of [B, C]", nodes=("a",)),
        *(Guarantee(name, "A", "sync", exclusion="block", nodes=(name.lower(),))
          for name in "BC"),
        Guarantee("E", "A", "async", nodes=("e",))])

    def verdict(confirmed: str) -> Verdict:
        tale = changing(Tale().write(1, confirmed="A B C"), "effective", kind, hits)
        results = {one.name: one.verdict for one in check_domains(
            tale.write(2, confirmed=confirmed).history(), tree)}
        return results["domain-confirmation"]

    assert verdict("A B C") is Verdict.PASS
    assert verdict("A C") is (Verdict.PASS if excused else Verdict.VIOLATION)
    only_b = hits == "b"
    assert verdict("A B") is (Verdict.PASS if excused and not only_b else Verdict.VIOLATION)


def test_which_of_any_k_further_down_confirmed_nobody_above_knows() -> None:
    tree = Guarantees([Guarantee("A"), Guarantee("B", "A", "sync", "any 1 of [C, D]"),
                       *(Guarantee(name, "B", "sync", exclusion="block") for name in "CD")])
    results = {one.name: one.verdict for one in check_domains(
        Tale().write(1, confirmed="A B").history(), tree)}
    assert results["domain-confirmation"] is Verdict.PASS


def test_what_was_left_out_is_told() -> None:
    tale = changed().write(4, confirmed="A C D").write(5, confirmed="A C D")
    result = next(one for one in check_domains(tale.history(), TREE)
                  if one.name == "domain-confirmation")
    assert result.verdict is Verdict.PASS
    assert "3 changes were confirmed as the policies ask; 2 changes left out" in result.summary
    assert result.evidence["excused"] == {"D": [[2, 12]]}


def test_any_k_of_some_asks_for_k() -> None:
    """Of those that are not excluded: whether one is, is known where its mode is block."""
    for mode, alone in (("block", Verdict.VIOLATION), ("exclude", Verdict.PASS)):
        tree = Guarantees([Guarantee("A", policy="any 2 of [B, C, D]"),
                           *(Guarantee(name, "A", "sync", exclusion=mode) for name in "BCD")])
        for confirmed, verdict in (("A B D", Verdict.PASS), ("A D", alone)):
            history = Tale().write(1, confirmed=confirmed).history()
            results = {result.name: result for result in check_domains(history, tree)}
            assert results["domain-confirmation"].verdict is verdict
        assert not tree.gates("B")


# --- who is guilty --------------------------------------------------------------------------

def cut_off() -> Tale:
    return Tale().write(1).fault("requested", **CUT).fault("effective", **CUT).passes(60)


# what breaks it, the rows of the one who did, and of all in its counterexample
GUILTY: dict[str, tuple[Tale, tuple[int, int], list[int]]] = {
    "linearizable": (Tale().write(1).write(2, confirmed="A C D").read(1, C), (4, 5), [0, 2, 4]),
    "committed": (Tale().write(1).begin(0, "write", 2).read(2, B, "read-prefix").end(
        0, type="info").read(1, A), (6, 7), [0, 2, 6]),
    "visibility": (Tale().write(1).write(2, confirmed="A C D").read(1, C), (4, 5), [0, 2, 4]),
    "prefix": (Tale().write(1, rindex=1).write(2, rindex=4).read(1, B, "read-prefix", rindex=5),
               (4, 5), [2, 4]),
    "coordinates": (Tale().begin(0, "write", 1).begin(2, "write", 2, key="y").end(
        0, rindex=5).end(2, rindex=5), (1, 3), [0, 1]),
    "session": (Tale().write(1, rindex=1).write(2, rindex=2).read(
        1, B, "read-prefix", token=2), (4, 5), [2, 4]),
    "bounded": (Tale().write(1).write(2).passes(150).read(1, B, "read-bounded"), (4, 5), [2, 4]),
    "lag": (Tale().write(1).write(2).passes(150).read(1, B, "read-prefix"), (4, 5), [2, 4]),
    "fencing": (cut_off().read(1, C), (4, 5), [4]),
    "confirmation": (Tale().write(1, confirmed="A C D").write(2, confirmed="A C"), (2, 3), [2]),
}


@pytest.mark.parametrize("guarantee", GUILTY)
def test_a_broken_guarantee_names_who_broke_it(guarantee: str) -> None:
    tale, guilty, rows = GUILTY[guarantee]
    broken = tale.broken()[guarantee]
    assert broken.verdict is Verdict.VIOLATION
    assert culprits(broken) == [guilty]
    [example] = broken.evidence["counterexamples"]
    assert [one["invoked_row"] for one in example["core"]] == rows
    assert f"rows {guilty[0]}-{guilty[1]}" in broken.text


# --- what is given ---------------------------------------------------------------------------

def test_a_domain_in_which_nobody_read_is_told() -> None:
    overview = check_domains(Tale().write(1).read(1, C).history(), TREE)[0]
    assert overview.verdict is Verdict.NO_COVERAGE
    assert "no read was answered in A, B, D" in overview.summary


def test_the_history_may_carry_the_guarantees() -> None:
    history = History.from_rows(Tale().write(1).rows, meta=metadata(domains=TREE.plain()))
    assert guarantees_of(history).domains == TREE.domains
    with pytest.raises(CheckerError, match="does not say which domains there are"):
        guarantees_of(Tale().history())


@pytest.mark.parametrize(("domains", "expected"), [
    ([Guarantee("A"), Guarantee("A", "A", "sync")], "a name occurs twice"),
    ([Guarantee("A"), Guarantee("B")], "2 without a parent"),
    ([Guarantee("A"), Guarantee("B", "X", "sync")], "no domain is called 'X'"),
    ([Guarantee("A"), Guarantee("B", "A")], "expected sync or async"),
    ([Guarantee("A", policy="most")], "policy: expected all, none or any K of"),
    ([Guarantee("A"), Guarantee("B", "C", "sync"), Guarantee("C", "B", "sync")], "a circle"),
])
def test_trees_that_are_none_are_refused(domains: list[Guarantee], expected: str) -> None:
    with pytest.raises(CheckerError, match=expected):
        Guarantees(domains)


def test_histories_of_something_else_are_refused() -> None:
    with pytest.raises(CheckerError, match="unknown operation 'enqueue'"):
        check_domains(Tale().begin(0, "enqueue", 1).history(), TREE)
    with pytest.raises(CheckerError, match="domain 7, but 4 domains are known"):
        check_domains(Tale().read(1, 7).history(), TREE)
