"""Message sequences: what a simulated run's trace tells, as text and drawn."""
from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from seatrial.harness.report.sequence import Entry, owners, story, text
from seatrial.harness.report.sequence_drawing import drawing, whole_file
from seatrial.harness.results import Fault

from .test_sim_world import Writer, isolated, leader, run_until, world

MS, S = 1_000_000, 1_000_000_000
NODES = ("n1", "n2", "n3")


def frame(type: str, **fields: int) -> dict[str, Any]:
    """A message's fields, as the trace has them."""
    return {"type": type, "flags": 0, "sender": 1, "receiver": 2, "term": 3, "index": 0,
            "log_term": 0, "commit": 0, "round": 0, "count": 0, "sent_ns": 0} | fields


def message(at_ns: int, sender: int, receiver: int, type: str, **fields: int) -> Entry:
    return at_ns, "message", sender, receiver, frame(type, **fields)


@pytest.mark.parametrize(("fields", "label"), [
    (frame("vote", index=5, log_term=2), "vote for me, term 3 (my log: 5 of term 2)"),
    (frame("vote-reply", flags=1), "vote granted, term 3"),
    (frame("vote-reply"), "vote refused, term 3"),
    (frame("append", index=4, log_term=2, count=1, commit=3),
     "append entry 5, term 3 (after 4 of term 2; commit 3)"),
    (frame("append", index=4, count=3), "append entries 5 to 7, term 3 (after 4 of term 0; comm"),
    (frame("append", index=4), "append nothing new, term 3"),
    (frame("append-reply", index=7), "has all up to 7, term 3"),
    (frame("append-reply", flags=1, index=2, commit=6), "refused after 6, term 3 (try 2)"),
    (frame("heartbeat", commit=9, round=4), "heartbeat, term 3 (commit 9, round 4)"),
    (frame("heartbeat-reply", round=4), "heard, term 3 (round 4)"),
])
def test_a_message_says_what_it_means(fields: dict[str, Any], label: str) -> None:
    told = story([(5, "message", 0, 1, fields)], nodes=NODES)
    assert told.arrows[0].label.startswith(label)
    assert (told.arrows[0].sender, told.arrows[0].receiver) == ("n1", "n2")


def request(op: str, **fields: Any) -> dict[str, Any]:
    return {"sent_ns": 0, "request": 1, "session": 1, "sequence": 1, "op": op, "key": b"k",
            "value": None, "expected": None} | fields


def test_requests_and_answers_are_those_of_the_client_that_holds_the_connection() -> None:
    trace: list[Entry] = [
        (1, "request", 7, 0, request("open-session", key=b"")),
        (2, "request", 7, 0, request("cas", expected=b"1", value=b"2")),
        (3, "response", 0, 7, {"sent_ns": 2, "request": 1, "status": "cas-mismatch",
                               "value": b"5", "rindex": 4, "term": 1}),
        (4, "response", 1, 9, {"sent_ns": 2, "request": 1, "status": "not-leader",
                               "value": b"\3\0\0\0", "rindex": 0, "term": 1}),
        (5, "request", 9, 0, request("write", value=b"x" * 99, session=2)),
        (6, "request", 9, 0, request("read", request=8, session=2)),
        (7, "response", 0, 9, {"sent_ns": 6, "request": 8, "status": "ok", "value": None,
                               "rindex": 0, "term": 1}),
        (7, "request", 3, 2, request("open-session", key=b"", session=1)),
    ]
    operations = [(0, 3, 4, "cas", b"k"), (5, 6, 1, "write", b"k"), (8, 9, 2, "write", b"k")]
    held = owners(trace, operations)
    assert held == {7: "client 4", 9: "client 1", 3: "client 4"}, "known by its session"
    told = story(trace, nodes=NODES, owners=held)
    assert [(a.sender, a.receiver, a.label) for a in told.arrows[:4]] == [
        ("client 4", "n1", "open session"), ("client 4", "n1", "cas k: 1 to 2"),
        ("n1", "client 4", "cas mismatch: 5"), ("n2", "client 1", "not leader, ask n3")]
    assert told.lanes == ("client 1", "client 4", *NODES)
    assert len(told.arrows[4].label) < 50
    assert told.arrows[6].label == "ok: nil"


def test_a_heartbeat_that_says_nothing_new_is_left_out_and_counted() -> None:
    trace = [message(n, 0, 1, "heartbeat", commit=n // 3) for n in range(6)]
    trace += [message(7, 0, 2, "heartbeat", commit=1), message(8, 0, 1, "append")]
    told = story(trace, nodes=NODES)
    assert [(a.time_ns, a.receiver, a.kind) for a in told.arrows] == [
        (0, "n2", "heartbeat"), (3, "n2", "heartbeat"), (7, "n3", "heartbeat"), (8, "n2", "append")]
    assert told.routine == 4


def test_of_a_long_run_the_end_is_told() -> None:
    trace = [message(n, 0, 1, "append", index=n) for n in range(1000)]
    told = story(trace, nodes=NODES, most=100)
    assert [arrow.time_ns for arrow in told.arrows] == list(range(900, 1000))
    assert (told.earlier, told.begin_ns) == (900, 900)
    assert "900 earlier events" in text(told).splitlines()[0]


def test_the_story_ends_when_it_is_certain_that_something_is_wrong() -> None:
    trace = [message(n, 0, 1, "append", index=n) for n in range(10)]
    told = story(trace, nodes=NODES, origin_ns=1, until_ns=4)
    assert [arrow.time_ns for arrow in told.arrows] == [0, 1, 2, 3, 4]
    assert told.end_ns == 4


def test_times_count_from_when_clients_began_and_what_was_before_is_no_part_of_it() -> None:
    trace: list[Entry] = [(S, "leads", 0, -1, 2), (2 * S, "kill", 0, -1, None),
                          (3 * S, "start", 0, -1, None)]
    told = story(trace, nodes=NODES, origin_ns=2 * S)
    assert [(mark.time_ns, mark.kind) for mark in told.marks] == [(0, "kill"), (S, "start")]
    assert [(b.kind, b.begin_ns, b.end_ns) for b in told.bands] == [
        ("leads", -S, 0), ("down", 0, S)]


def test_what_a_node_promises_is_told_when_it_changes() -> None:
    trace: list[Entry] = [(n, "write", 0, -1, (term, vote, 1)) for n, (term, vote) in enumerate(
        [(1, 0), (1, 0), (2, 3), (2, 3)])]
    assert [mark.label for mark in story(trace, nodes=NODES).marks] == [
        "writes term 1", "writes term 2, vote for n3"]


def a_real_trace() -> tuple[list[Entry], int, int, Writer]:
    """A leader answers a write, is cut off, is killed and comes back."""
    w = world(3, 4, record=True)
    first = leader(w)
    origin = w.now_ns
    writer = Writer(w, first)
    w.call_at(origin + 20 * MS, writer.write)
    run_until(w, lambda: writer.statuses == ["ok", "ok"])
    cut = w.cut(isolated(w, first))
    w.call_at(origin + 400 * MS, w.kill, first)
    w.call_at(origin + 700 * MS, w.start, first)
    w.call_at(origin + 900 * MS, w.lift, cut)
    w.run([], origin + 1200 * MS)
    return w.trace(), origin, first, writer


def test_a_real_run_is_told_in_order_with_its_crash_its_election_and_its_end() -> None:
    trace, origin, first, writer = a_real_trace()
    name = f"n{first + 1}"
    told = story(trace, nodes=NODES, origin_ns=origin, owners={writer.connection: "client 0"},
                 faults=[Fault("kill", "crash", [name], 400 * MS, 400 * MS, 700 * MS)],
                 violation="k is lost")
    lines = text(told).splitlines()
    times = [float(line.split()[0]) for line in lines]
    assert times == sorted(times)
    whole = "\n".join(lines)
    for words in (f"client 0 --> {name}        write k = 1", f"{name} --> client 0  ok",
                  f"{name}  X            killed", f"kill {name} begins", f"kill {name} ends",
                  "leads term 2", "vote granted, term 2"):
        assert words in whole
    assert lines[-1].endswith("VIOLATION: k is lost")


def test_the_drawing_is_one_svg_that_stands_alone() -> None:
    trace, origin, _, writer = a_real_trace()
    told = story(trace, nodes=NODES, origin_ns=origin, owners={writer.connection: "client 0"},
                 faults=[Fault("kill", "crash", ["n1"], 400 * MS, 400 * MS, 700 * MS)],
                 violation="a <b> & c")
    whole = whole_file(told)
    root = ElementTree.fromstring(whole)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[:4] == ["client 0", *NODES]
    assert "✗ a <b> & c" in texts
    assert texts.count("leads term 2") == 1
    arrows = [e for e in root.iter("{http://www.w3.org/2000/svg}path") if len(e)]
    assert 0 < len(arrows) <= len(told.arrows)
    assert len(root.findall(".//*[@class='crash']")) == 1
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", whole):
        assert 0 <= float(x) <= width
        assert 0 <= float(y) <= height


def test_an_arrow_points_downwards_from_sender_to_receiver() -> None:
    told = story([message(5 * MS, 2, 0, "vote", sent_ns=3 * MS)], nodes=NODES)
    path = next(e for e in ElementTree.fromstring(str(drawing(told))).iter("path") if len(e))
    x1, y1, x2, y2 = map(float, re.findall(r"[\d.]+", path.get("d", "")))
    assert x1 > x2
    assert y1 < y2
    assert "n3 to n1: vote for me" in (path[0].text or "")


def test_nothing_to_tell_is_drawn_as_nothing() -> None:
    told = story([], nodes=NODES)
    assert text(told) == ""
    ElementTree.fromstring(whole_file(told))


def test_messages_that_lie_upon_each_other_are_one_arrow() -> None:
    trace = [message(5, 0, 1, "heartbeat", sent_ns=2), message(5, 0, 1, "append", sent_ns=2)]
    root = ElementTree.fromstring(str(drawing(story(trace, nodes=NODES))))
    labels = [e.text for e in root.iter("text") if e.get("transform")]
    assert labels == ["append -, t3, commit 0"], "a heartbeat beside it says nothing more"
    trace = [message(5, 0, 1, "append", sent_ns=2), message(5, 0, 1, "vote", sent_ns=2)]
    root = ElementTree.fromstring(str(drawing(story(trace, nodes=NODES))))
    labels = [e.text for e in root.iter("text") if e.get("transform")]
    assert labels == ["append -, t3, commit 0; vote? t3, log 0/t0"]


def test_who_led_before_the_story_begins_is_said_at_its_top() -> None:
    trace: list[Entry] = [(1, "leads", 0, -1, 7), message(5, 0, 1, "append", sent_ns=3)]
    root = ElementTree.fromstring(str(drawing(story(trace, nodes=NODES, origin_ns=2))))
    assert [e.text for e in root.iter("text") if e.get("class") == "label mark"] == [
        "leads term 7"]


def test_a_message_that_got_lost_ends_on_its_way() -> None:
    trace: list[Entry] = [(5, "lost", 0, 1, frame("vote", sent_ns=5))]
    told = story(trace, nodes=NODES)
    assert "-x" in text(told)
    path = next(e for e in ElementTree.fromstring(str(drawing(told))).iter("path") if len(e))
    x1, _, x2, _ = map(float, re.findall(r"[\d.]+", path.get("d", "")))
    other = ElementTree.fromstring(str(drawing(story([message(5, 0, 1, "vote")], nodes=NODES))))
    whole = next(e for e in other.iter("path") if len(e))
    assert x2 - x1 < float(re.findall(r"[\d.]+", whole.get("d", ""))[2]) - x1
