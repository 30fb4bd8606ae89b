"""The online check says of every prefix what the offline check says of it.

SEATRIAL_HISTORIES (default 20,000) and SEATRIAL_SEED as in test_agreement.py: a disagreement prints
the seed, and ``SEATRIAL_SEED=<it> SEATRIAL_HISTORIES=1`` replays it.
"""
from __future__ import annotations

import io
import itertools
import os
import random
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from seatrial.checker import BadHistory, CheckResult, History, Verdict, check_linearizable
from seatrial.checker.generate import Recipe, batches, write
from seatrial.checker.history import FILE_NAME
from seatrial.checker.models import MODELS
from seatrial.checker.online import OnlineCheck
from seatrial.checker.online.batches import Batches, Growing
from seatrial.harness import online as command
from seatrial.harness.cli import main

HISTORIES = int(os.environ.get("SEATRIAL_HISTORIES", "20000"))
FIRST_SEED = int(os.environ.get("SEATRIAL_SEED", "0"))

Events = list[dict[str, Any]]


def random_events(seed: int) -> Events:
    """A history of registers as a run would record it: clients that crash and come back, failed
    writes, compare-and-sets that say what they saw, values that are used again."""
    rng = random.Random(f"online{seed}")
    clients, keys = rng.randint(1, 5), rng.choice((1, 1, 1, 2))
    length = rng.choice((6, 12, 12, 30, 80, 300))
    crash, fail = rng.choice((0.0, 0.1, 0.3)), rng.choice((0.0, 0.1))
    wrong, again = rng.choice((0.0, 0.005, 0.03, 0.1, 0.3)), rng.choice((0.0, 0.03, 0.1, 0.5))
    cas, write = rng.choice((0.0, 0.3, 0.8)), rng.choice((0.3, 0.5))
    events: Events = []
    state: dict[str, Any] = {}
    past: dict[str, list[Any]] = {}
    busy: dict[int, dict[str, Any]] = {}
    fresh, process = 100, dict(enumerate(range(clients)))

    def put(client: int, type_: str, op: dict[str, Any], value: Any) -> None:
        events.append({"process": process[client], "type": type_, "f": op["f"], "key": op["key"],
                       "value": value})

    def take_effect(op: dict[str, Any]) -> None:
        if op["done"]:
            return
        op["done"] = True
        now = state.get(op["key"])
        op["saw"] = now
        if op["f"] == "write":
            state[op["key"]] = op["value"]
        elif op["f"] == "cas" and now == op["value"][0]:
            op["fits"] = True
            state[op["key"]] = op["value"][1]
        past.setdefault(op["key"], []).append(state.get(op["key"]))

    crashed: list[dict[str, Any]] = []
    while len(events) < length:
        client = rng.randrange(clients)
        if crashed and rng.random() < 0.2:
            take_effect(crashed.pop(rng.randrange(len(crashed))))
        if client not in busy:
            key = f"k{rng.randrange(keys)}"
            draw = rng.random()
            seen = past.get(key, [None])
            if rng.random() < again:
                new = rng.choice((1, 2, 3, None, *seen[-3:]))
            else:
                new, fresh = fresh, fresh + 1
            f = "cas" if draw < cas * write else "write" if draw < write else "read"
            old = rng.choice(seen[-3:]) if rng.random() < 0.3 else state.get(key)
            value = {"cas": [old, new], "write": new, "read": None}[f]
            busy[client] = {"f": f, "key": key, "value": value, "done": False, "fits": False}
            put(client, "invoke", busy[client], value)
            continue
        op = busy[client]
        if not op["done"] and rng.random() < 0.5:
            take_effect(op)
            continue
        del busy[client]
        if rng.random() < crash:
            crashed.append(op)
            put(client, "info", op, op["value"])
            process[client] += clients
            continue
        lies = rng.random() < wrong
        if op["f"] == "write" and not op["done"] and rng.random() < fail:
            put(client, "fail", op, op["value"])
            continue
        take_effect(op)
        if op["f"] == "read":
            put(client, "ok", op, rng.choice((*past[op["key"]], 77)) if lies else op["saw"])
        elif op["f"] == "write":
            put(client, "fail" if lies else "ok", op, op["value"])
        elif op["fits"] != lies:
            put(client, "ok", op, op["value"])
        else:
            put(client, "fail", op,
                [*op["value"], op["saw"]] if rng.random() < 0.8 else op["value"])
    return events


def offline(events: Events, cas_fail: str) -> bool:
    """Whether a history is not linearizable, by the search alone."""
    found = check_linearizable(History.from_rows(events), "cas-register", engine="search",
                               cas_fail=cas_fail)
    assert found.verdict is not Verdict.INCONCLUSIVE
    return found.verdict is Verdict.VIOLATION


def online(events: Events, cas_fail: str, cuts: list[int], *, stop: bool = False,
           model: Any = None) -> tuple[OnlineCheck, CheckResult]:
    """Feed a history in the pieces between the cuts."""
    check = OnlineCheck(model, cas_fail=cas_fail, stop=stop)
    bounds = [0, *cuts, len(events)]
    for first, end in itertools.pairwise(bounds):
        if end > first:
            check.feed(History.from_rows(events[first:end]))
    return check, check.finish()


@pytest.mark.timeout(0)
@pytest.mark.randomised
def test_every_prefix_has_the_verdict_that_the_offline_check_has_for_it() -> None:
    violations = cut_short = handed_on = 0
    last = FIRST_SEED + -(-HISTORIES // 10)
    for seed in range(FIRST_SEED, last):
        events = random_events(seed)
        rng = random.Random(seed)
        cas_fail = rng.choice(("drop", "drop", "observe"))
        end = rng.randint(1, len(events))
        cuts = sorted(rng.sample(range(end), min(end, rng.choice((0, 1, 5)))))
        check, found = online(events[:end], cas_fail, cuts)
        truth = offline(events[:end], cas_fail)
        assert found.verdict == (Verdict.VIOLATION if truth else Verdict.PASS), (seed, end, truth)
        cut_short += end < len(events)
        handed_on += found.evidence["engines"]["online"]["keys"]["search"] > 0
        if not truth:
            continue
        violations += 1
        row = min(violation.row for violation in check.violations)
        assert row < end, seed
        if not check._kept.broken:              # the monitor knows at once
            assert offline(events[:row + 1], cas_fail), (seed, row)
            assert not offline(events[:row], cas_fail), (seed, row)
            stopping, same = online(events, cas_fail, cuts, stop=True)
            assert same.verdict is Verdict.VIOLATION, seed
            assert stopping.violations[0].row == row, seed
            assert stopping.events == row + 1, seed
    tried = last - FIRST_SEED
    print(f"{tried} histories from seed {FIRST_SEED}, {cut_short} of them cut: {violations} not "
          f"linearizable, {handed_on} with keys that the monitor handed on: all agree")
    if tried > 100:
        assert 0.05 < violations / tried < 0.95
        assert 0.05 < handed_on / tried < 0.95


# --- memory -------------------------------------------------------------------------------------

def remembered(recipe: Recipe) -> tuple[int, int]:
    """Feed a generated history; how much was remembered at most, and how much was kept."""
    check, most, kept = OnlineCheck(), 0, 0
    for batch in batches(recipe):
        check.feed(History(pa.Table.from_batches([batch])))
        most, kept = max(most, check._engine.remembered), max(kept, check._kept.operations)
    assert check.finish().verdict is Verdict.PASS
    return most, kept


@pytest.mark.parametrize("recipe", [
    {"model": "register", "clients": 20}, {"model": "kv", "keys": 50, "clients": 10},
    {"model": "cas-register", "cas": 0.5, "clients": 5}])
def test_memory_does_not_grow_with_the_history(recipe: dict[str, Any]) -> None:
    """Counted at the end of each batch of 65,536 events, on histories of two and of twelve."""
    short, long = (remembered(Recipe(operations=n, **recipe)) for n in (60_000, 360_000))
    keys, clients = recipe.get("keys", 1), recipe["clients"]
    assert long[1] == 0
    assert long[0] < 1.3 * short[0] + 100
    assert long[0] < 60 * keys + 10 * clients


def test_a_chain_of_compare_and_sets_is_forgotten_from_its_beginning() -> None:
    rows: Events = [event for i in range(5000) for event in two("cas", [i or None, i + 1])]
    check, found = online(rows, "drop", [])
    assert found.verdict is Verdict.PASS
    assert check._engine.remembered < 100
    assert online([*rows, *two("read", None, 4999)], "drop", [])[1].verdict is Verdict.VIOLATION
    assert online([*rows, *two("read", None, 5000)], "drop", [])[1].verdict is Verdict.PASS


def test_a_key_that_is_handed_on_is_cut_where_nothing_is_in_flight() -> None:
    """Values that come again: the search judges, and what may be there takes the place of all."""
    rows: Events = []
    for i in range(2000):
        rows += [op(0, "invoke", "write", i % 3), op(1, "invoke", "write", i % 2),
                 op(0, "ok", "write", i % 3), op(1, "ok", "write", i % 2)]
        rows += two("read", None, i % 3 if i % 5 else i % 2)
    check, found = online(rows, "drop", list(range(200, len(rows), 200)))
    assert found.verdict is Verdict.PASS
    assert check._kept.operations < 200
    assert online([*rows, *two("read", None, 7)], "drop", [600])[1].verdict is Verdict.VIOLATION


def op(process: int, type_: str, f: str, value: Any) -> dict[str, Any]:
    return {"process": process, "type": type_, "f": f, "key": "k", "value": value}


def two(f: str, asked: Any, answered: Any = None, process: int = 0) -> Events:
    """An operation that nothing overlaps."""
    return [op(process, "invoke", f, asked),
            op(process, "ok", f, asked if answered is None else answered)]


# --- what it says -------------------------------------------------------------------------------

SAYS: dict[str, tuple[Events, str]] = {
    "a stale read": (
        [*two("write", 1), *two("write", 2), *two("read", None, 1)],
        "p0's read -> 1 can't be placed: the value could only be 2"),
    "a value that nobody wrote": (
        [*two("write", 1), *two("read", None, 7)], "p0's read -> 7, but nobody had written 7"),
    "a value that was replaced": (
        [*two("write", 1), *two("cas", [1, 2]), *two("read", None, 1)],
        "p0's read -> 1 can't be placed: the value could only be 2"),
    "two that replaced one value": (
        [*two("write", 1), *two("cas", [1, 2]), *two("cas", [1, 3])],
        "p0's cas 1 -> 3 can't be placed: the value could only be 2"),
    "a write that failed and was seen": (
        [op(1, "invoke", "write", 5), *two("read", None, 5), op(1, "fail", "write", 5)],
        "p0's read -> 5, but nobody had written 5"),
}


@pytest.mark.parametrize("fault", SAYS)
def test_a_violation_names_the_operation_and_why(fault: str) -> None:
    events, reason = SAYS[fault]
    check, found = online(events, "drop", [2, 4])
    assert found.verdict is Verdict.VIOLATION
    assert check.violations[0].row == len(events) - 1
    assert reason in found.summary
    assert found.evidence["first_violation"]["row"] == len(events) - 1
    assert found.evidence["counterexamples"][0]["core"]
    assert "operations that no order explains" in found.text


def test_a_history_that_contradicts_itself_is_refused_with_its_row() -> None:
    check = OnlineCheck()
    check.feed(History.from_rows(two("write", 1)))
    with pytest.raises(BadHistory, match="history:4: process 0 invokes again before its last"):
        check.feed(History.from_rows([op(0, "invoke", "read", None)] * 2))
    with pytest.raises(BadHistory, match="history:1: process 3 completes an operation that it"):
        OnlineCheck().feed(History.from_rows([op(3, "ok", "write", 1)]))
    with pytest.raises(BadHistory, match="history:1: cas has the value 3; expected"):
        OnlineCheck().feed(History.from_rows([op(3, "invoke", "cas", 3)]))
    wide = OnlineCheck()
    wide.feed(History.from_rows(two("write", 1)))
    wide.feed(History.from_rows([{"process": 1, "type": "invoke", "f": "put", "key": "k"}]))
    with pytest.raises(BadHistory, match="history:4: the kv model does not know 'pop'"):
        wide.feed(History.from_rows([op(2, "invoke", "pop", None)]))


def test_values_of_any_kind_are_forgotten_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seatrial.checker.online.passing.MANY", 50)
    rows = [event for i in range(3000) for event in (*two("write", f"v{i}"),
                                                     *two("read", None, f"v{i}"))]
    check, found = online(rows, "drop", list(range(40, len(rows), 40)))
    assert found.verdict is Verdict.PASS
    assert len(check._values) < 300
    assert online([*rows, *two("read", None, "v2998")], "drop", [])[1].verdict is Verdict.VIOLATION


# --- the command --------------------------------------------------------------------------------

def run(*arguments: str, stdin: bytes = b"", monkeypatch: pytest.MonkeyPatch | None = None) -> int:
    if monkeypatch is not None:
        class Standard:
            buffer = io.BytesIO(stdin)

        monkeypatch.setattr("sys.stdin", Standard())
    return main(["check", *arguments])


@pytest.fixture(scope="module")
def violated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("online") / "kv.arrow"
    with path.open("wb") as file:
        write(Recipe(operations=100_000, keys=20, violation="stale-read", at=0.3), file)
    return path


def test_fail_fast_stops_at_the_first_violation(
    violated: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(str(violated), "--fail-fast", "--json") == 1
    out, err = capsys.readouterr()
    assert "can't be placed" in err
    assert 55_000 < int(out.split('"events": ')[1].split(",")[0]) < 75_000
    assert run(str(violated), "--online", "--json") == 1
    assert '"events": 200000' in capsys.readouterr().out


def test_standard_input_is_judged_as_a_file_or_online_where_it_is_long(
    violated: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = violated.read_bytes()
    assert run("-", "--json", stdin=data, monkeypatch=monkeypatch) == 1
    assert '"monitor": {' in capsys.readouterr().out
    monkeypatch.setattr(command, "MODERATE_OPERATIONS", 40_000)
    assert run("-", "--json", stdin=data, monkeypatch=monkeypatch) == 1
    assert '"online": {' in capsys.readouterr().out
    write = b"{:process 0 :type :invoke :f :write :value 1}\n{:process 0 :type :ok :f :write}\n"
    assert run("-", stdin=write, monkeypatch=monkeypatch) == 0


LINES = {
    "edn": """[{:process 0 :type :invoke :f :write :value 1}
{:process 0 :type :ok :f :write :value 1}
{:process 0 :type :invoke :f :read}
{:process 0 :type :ok :f :read :value 2}]
""",
    "json": """[{"process": 0, "type": "invoke", "f": "write", "value": 1},
{"process": 0, "type": "ok", "f": "write", "value": 1},
{"process": 0, "type": "invoke", "f": "read"},
{"process": 0, "type": "ok", "f": "read", "value": 2}]
""",
}


@pytest.mark.parametrize("format", LINES)
def test_lines_of_text_are_judged_as_they_come(
    format: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    text = LINES[format].encode()
    assert run("-", "--online", stdin=text, monkeypatch=monkeypatch) == 1
    assert "nobody had written 2" in capsys.readouterr().out
    (tmp_path / "h").write_bytes(text.replace(b"2", b"1"))
    monkeypatch.setattr("seatrial.checker.online.batches.CHUNK", 60)
    assert run(str(tmp_path / "h"), "--online") == 0
    (tmp_path / "h").write_bytes(text.rpartition(b"}")[0][:-3])
    assert run(str(tmp_path / "h"), "--online") == 254
    assert "/h:4: " in capsys.readouterr().err


@pytest.mark.parametrize(("old", "new"), [
    (":ok :f :write", ":ok :f :read"), ("{:process 0 :type :ok", "{:key 3 :process 0 :type :ok")])
def test_an_end_that_is_another_operations_is_refused_as_it_comes(
    old: str, new: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = LINES["edn"].replace(old, new, 1).encode()
    assert run("-", "--online", stdin=text, monkeypatch=monkeypatch) == 254
    assert "input:2: process 0 ends another operation" in capsys.readouterr().err


@pytest.mark.parametrize("chunk", [40, 70, 200, 1 << 20])
def test_pieces_agree_on_keys_and_names_that_only_later_ones_tell_of(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("seatrial.checker.online.batches.CHUNK", chunk)
    (tmp_path / "h").write_text("\n".join(
        f"{{:process {process} :type {type} :f {f} :value [{key} {value}]}}"
        for process, type, f, key, value in (
            (":a", ":invoke", ":write", 1, 5), (":a", ":ok", ":write", 1, 5),
            (":b", ":invoke", ":write", 2, 6), (":a", ":invoke", ":read", 1, "nil"),
            (":b", ":ok", ":write", 2, 6), (":a", ":ok", ":read", 1, 5),
            (":b", ":invoke", ":read", 2, "nil"), (":b", ":ok", ":read", 2, 7))))
    assert run(str(tmp_path / "h"), "--online") == 1
    out = capsys.readouterr().out
    assert "key 2: p1's read -> 7, but nobody had written 7" in out


def test_nothing_and_an_empty_string_stay_apart_where_a_value_is_written_again() -> None:
    done = [("write", 1), ("write", 1), ("write", ""), ("read", None)]
    rows = [{"process": process, "type": type, "f": f, "value": value if type == "ok" or
             f == "write" else None}
            for process, (f, value) in enumerate(done) for type in ("invoke", "ok")]
    rows[1], rows[2] = rows[2], rows[1]             # one value is written by two at the same time
    check = OnlineCheck(MODELS["register"])
    check.feed(History.from_rows(rows))
    assert check.finish().verdict is Verdict.VIOLATION


def test_a_file_that_grows_is_followed_until_its_end(violated: Path, tmp_path: Path) -> None:
    """Pieces that end anywhere; the reader is told of the end, and finds the same violation."""
    data, path, over = violated.read_bytes(), tmp_path / FILE_NAME, threading.Event()
    path.touch()
    fed: list[int] = []

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            for first in range(0, len(data), 100_001):
                file.write(data[first:first + 100_001])
        over.set()

    writer = threading.Thread(target=grow)
    writer.start()
    check = OnlineCheck()
    with Batches.of(path, "arrow", over.is_set) as batches_:
        for history in batches_:
            check.feed(history)
            fed.append(len(history))
    writer.join()
    assert sum(fed) == 200_000
    assert check.finish().verdict is Verdict.VIOLATION
    assert check.violations[0].row < 70_000


def test_reading_at_the_end_of_a_growing_file_waits_for_more() -> None:
    left = [b"one", b"", b"", b"two", b""]

    class Pieces(io.RawIOBase):
        def readinto(self, buffer: Any) -> int:
            piece = left.pop(0) if left else b""
            buffer[:len(piece)] = piece
            return len(piece)

    assert Growing(Pieces(), lambda: not left).read() == b"onetwo"      # type: ignore[arg-type]


@pytest.mark.parametrize(("arguments", "message"), [
    (["--index", "i.tsv", "--online"], "are for one history, not for a corpus"),
    (["h.limo", "--online"], "h.limo: limo can't be read while it arrives; expected one of arrow"),
    (["absent.edn", "--follow"], "absent.edn: can't read it"),
])
def test_bad_input_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("h.limo").write_text("[1] call enq\n")
    assert run(*arguments) == 254
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
