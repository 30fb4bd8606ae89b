"""Histories in other formats: what is read, and what is said of files that are malformed."""
from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings

from seatrial.checker import BadHistory, History
from seatrial.checker.edn import EdnError, Reader, loads
from seatrial.checker.readers import READERS, read

EVENTS = [("invoke", 0, "cas", [1, 2]), ("ok", 0, "cas", [1, 2]), ("invoke", 1, "read", None),
          ("info", 1, "read", None)]
AS_EDN = """; a comment
[{:process 0, :type :invoke, :f :cas, :value [1 2]}
 #jepsen.history.Op{:index 1, :process 0 :type :ok :f :cas :value [1 2], :error nil}
 {:process 1, :type :invoke, :f :read, :value nil}
 #_ {:process 9 :type :ok :f :read}
 {:process 1, :type :info, :f :read, :value nil}]
"""
AS_LINES = """
{:process 0, :type :invoke, :f :cas, :value [1 2]}
{:process 0, :type :ok, :f :cas, :value [1 2]}
{:process 1, :type :invoke, :f :read, :value nil}
{:process 1, :type :info, :f :read, :value nil}
"""
AS_TEXT = """INFO  jepsen.util - 0\t:invoke\t:cas\t[1 2]
INFO  jepsen.core - something else
INFO  jepsen.util - 0\t:ok\t:cas\t[1 2]
INFO  jepsen.util - 1\t:invoke\t:read\tnil
INFO  jepsen.util - 1\t:info\t:read\tnil
"""
AS_JSON = """[{"process":0,"type":"invoke","f":"cas","value":[1,2]},
{"process":0,"type":"ok","f":"cas","value":[1,2]},
{"process":1,"type":"invoke","f":"read","value":null},
{"process":1,"type":"info","f":"read","value":null,"extra":[]}]"""
AS_JSON_LINES = AS_JSON.removeprefix("[").removesuffix("]").replace("},", "}")


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(("text", "format"), [
    (AS_EDN, "edn"), (AS_LINES, "edn"), (AS_TEXT, "jepsen-text"), (AS_JSON, "json"),
    (AS_JSON_LINES, "json")])
def test_every_format_gives_the_same_history(tmp_path: Path, text: str, format: str) -> None:
    history, guessed = read(write(tmp_path / "history", text))
    assert guessed == format
    assert [(row["type"], row["process"], row["f"], row["value"]) for row in history.rows()] == (
        EVENTS)


def test_a_folder_is_read_by_the_history_in_it(tmp_path: Path) -> None:
    with pytest.raises(BadHistory, match=r"history.arrow: can't read it: No such file"):
        read(tmp_path)
    write(tmp_path / "history.edn", AS_EDN)             # a folder of Jepsen's store
    assert len(read(tmp_path)[0]) == len(EVENTS)


def test_keys_and_nemesis_are_told_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "h.edn", """
        {:process :nemesis, :type :info, :f :kill, :value nil}
        {:process 3, :type :invoke, :f :get, :key "a", :value nil}
        {:process 3, :type :ok, :f :get, :key "a", :value "x"}
        {:process 4, :type :invoke, :f :get, :key 7, :value nil}""")
    history, _ = read(path)
    assert history.process.tolist() == [-1, 3, 3, 4]
    assert history.keys == [b"a", b"7"]
    assert history.time.tolist() == [-1] * 4        # nobody says when
    assert history.pairs[0].tolist() == [1, 3]


@pytest.mark.parametrize(("text", "message"), [
    ("[{:process 0\n:type :invoke :f :read}\n{:process 0 :type :ok :f}]", "3: unexpected '}'"),
    ("[{:process 0 :type :invoke :f :read}\n", "the text ends where ']' was expected"),
    ("{:process 0 :type :begin :f :read}", "1: an event of :type begin; expected :invoke, :ok"),
    ("{:process 0 :type :ok}", "1: an event without :f"),
    ("[1 2]", "1: expected an event, a map like"),
    ("{:process 0 :type :ok :f :read}\n\n}", "3: expected an event"),
    ('{:process 0 :type :ok :f :read :value "abc}', "1: a string that begins here has no end"),
    ("", "no events"),
    ("{:process 0 :type :ok :f :read}\n{:process 0 :type :ok :f :read :value "
     "123456789012345678901}", "h.edn:2: the value 123456789012345678901: "),
    ("{:process 4294967296 :type :ok :f :read}", "h.edn:1: the process 4294967296; expected at"),
    ("{:process 0 :type :ok :f :read :key [1]}", "h.edn:1: the key [1]; expected text or a"),
    ("{:process 0 :type :ok :f :read :time :noon}", "h.edn:1: the time 'noon'; expected nano"),
])
def test_malformed_edn_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "h.edn", text)
    with pytest.raises(BadHistory) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [
    ('[{"type":"ok","f":"read"},\n{"type":"ok"}]', "2: event 2 has no f"),
    ('{"type":"ok","f":"read"}\n\n{"type":3,"f":"read"}', "3: not a history in JSON"),
    ('[{"type":"ok",\n"f":"read"', "not a history in JSON"),
    ('{"type":"ok","f":"read"}\n{"type":"done","f":"read"}', "2: event 2 has the type 'done'"),
])
def test_malformed_json_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "h.json", text)
    with pytest.raises(BadHistory) as caught:
        read(path)
    assert message in str(caught.value)


AS_LIMO = """# about this history
# @object atomic-stack

[1] call push(?<0,1>)
    [2] call pop
[1] return
    [2] return ?<0,1>
[1] call push 7
[3] call pop()
[1] return
[3] return
[4] call pop(7)
[4] return
[5] call pop
[5] return empty
"""
STACK = [("invoke", "push", "?<0,1>"), ("invoke", "pop", None), ("ok", "push", "?<0,1>"),
         ("ok", "pop", "?<0,1>"), ("invoke", "push", 7), ("invoke", "pop", None),
         ("ok", "push", 7), ("ok", "pop", None), ("invoke", "pop", None), ("ok", "pop", 7),
         ("invoke", "pop", None), ("ok", "pop", None)]


def told(history: History) -> list[tuple[Any, ...]]:
    return [(row["type"], row["f"], row["value"]) for row in history.rows()]


def test_a_history_of_limo_is_read(tmp_path: Path) -> None:
    history, format = read(write(tmp_path / "h.hist", AS_LIMO))
    assert (format, history.model) == ("limo", "stack")
    assert told(history) == STACK
    queue = AS_LIMO.replace("stack", "queue").replace("push", "add").replace("pop", "remove")
    history, _ = read(write(tmp_path / "h.hist", queue))
    assert history.model == "fifo-queue"
    assert set(history.fs) == {"enqueue", "dequeue"}


def test_operations_with_times_become_events_and_returns_come_first(tmp_path: Path) -> None:
    history, format = read(write(
        tmp_path / "h.log", "# queue\nenq 5 1 3\ndeq 5 3 4\npeek -1 4 6\ndeq -1 8 9\n"))
    assert (format, history.model) == ("fastlin", "fifo-queue")
    assert told(history) == [
        ("invoke", "enqueue", 5), ("ok", "enqueue", 5), ("invoke", "dequeue", None),
        ("ok", "dequeue", 5), ("invoke", "peek", None), ("ok", "peek", None),
        ("invoke", "dequeue", None), ("ok", "dequeue", None)]
    assert len(history.pairs[0]) == 4


@pytest.mark.parametrize(("text", "format"), [
    ("w 0 1\nr 1 5\n-----\nw 1 2\n=====\nr 0 1\n", "awdit"),
    ("w(0,1,0,0)\nr(0,1,1,2)\nr(1,5,0,0)\nw(1,2,0,1)\n", "plume")])
def test_transactions_are_read_by_session(tmp_path: Path, text: str, format: str) -> None:
    history, guessed = read(write(tmp_path / "h.txt", text))
    assert (guessed, history.model, history.timed) == (format, "rw-register", False)
    done = {(int(history.process[i]), tuple(map(tuple, history.value(i))))
            for i in history.pairs[1].tolist()}
    assert done == {(0, (("w", 0, 1), ("r", 1, 5))), (0, (("w", 1, 2),)), (1, (("r", 0, 1),))}


@pytest.mark.parametrize(("text", "format", "message"), [
    ("[1] call pop\n", "limo", "1: a call before '# @object'"),
    ("# @object atomic-stack\n[1] call peel\n", "limo", "2: unknown method 'peel'; expected one"),
    ("# @object atomic-stack\n[1] return 3\n", "limo", "2: process 1 returns, but it called"),
    ("# @object atomic-stack\n[1] calls pop\n", "limo", "2: '[1] calls pop' is neither"),
    ("# @object atomic-stack\n", "limo", "no events in it"),
    ("# heap\npush 1 2 3\n", "fastlin", "1: it begins with '# heap'; expected one of # queue"),
    ("# stack\npush 1 2\n", "fastlin", "2: 'push 1 2'; expected one of push, pop, peek, a"),
    ("# stack\npush 1 3 2\n", "fastlin", "2: returned at 2; expected later than the call at 3"),
    ("w 1 1\nx 1 1\n", "awdit", "2: 'x 1 1'; expected 'r KEY VALUE'"),
    ("w(1,1,1,1)\nr(1,1,1)\n", "plume", "2: 'r(1,1,1)'; expected r or w(KEY,VALUE,"),
])
def test_malformed_texts_are_refused_with_their_line(
    tmp_path: Path, text: str, format: str, message: str,
) -> None:
    with pytest.raises(BadHistory) as caught:
        read(write(tmp_path / "h.txt", text), format)
    assert message in str(caught.value)


def test_parquet_holds_our_columns_or_just_some(tmp_path: Path) -> None:
    history, _ = read(write(tmp_path / "h.edn", AS_EDN))
    path = tmp_path / "h.parquet"
    pq.write_table(history._table, path)
    whole, format = read(path)
    assert format == "parquet"
    assert list(whole.rows()) == list(history.rows())
    pq.write_table(pa.table({
        "type": ["invoke", "ok", "info"], "process": [0, 0, None], "f": ["read", "read", "kill"],
        "value": [None, 5, None], "key": ["x", "x", None]}), path)
    some, _ = read(path)
    assert told(some)[:2] == [("invoke", "read", None), ("ok", "read", 5)]
    assert some.keys == [b"x"]


@pytest.mark.parametrize(("columns", "message"), [
    ({"type": ["ok"]}, "no column f; its columns are type"),
    ({"type": ["done"], "f": ["read"]}, "1: the type 'done'; expected one of invoke, ok"),
    ({"type": [1], "f": [None]}, "1: f is None; expected what was done"),
])
def test_parquet_without_a_history_is_refused(
    tmp_path: Path, columns: dict[str, list[Any]], message: str,
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "h.parquet")
    with pytest.raises(BadHistory) as caught:
        read(tmp_path / "h.parquet")
    assert message in str(caught.value)
    (tmp_path / "h.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(BadHistory, match="not a Parquet file"):
        read(tmp_path / "h.parquet")


def test_a_process_that_nobody_names_is_one_of_its_own(tmp_path: Path) -> None:
    history, _ = read(write(tmp_path / "h.edn", """
        {:type :invoke, :value [[:append 1 2]]}
        {:process :nemesis, :type :info, :f :kill}
        {:type :ok, :value [[:append 1 2]]}
        {:type :invoke :process 4 :f :read}"""))
    assert history.process.tolist() == [5, -1, 5, 4]
    assert history.fs == ["txn", "kill", "read"]


def test_a_name_that_does_more_than_tell_is_a_client(tmp_path: Path) -> None:
    """Else a history whose clients have names would have no operations, and pass."""
    history, _ = read(write(tmp_path / "h.json", """
        {"process": "nemesis", "type": "invoke", "f": "kill"}
        {"process": "a", "type": "invoke", "f": "write", "value": 1}
        {"process": "b", "type": "invoke", "f": "read"}
        {"process": "watcher", "type": "info", "f": "leader", "value": "n1"}
        {"process": "a", "type": "ok", "f": "write", "value": 1}
        {"process": 7, "type": "invoke", "f": "read"}"""))
    names = history.process.tolist()
    assert names[0] == names[3] == -1
    assert sorted({*names[1:3], names[5]}) == [7, 8, 9]
    assert names[4] == names[1]


TUPLES = """{:process :nemesis :type :info :f :start :value [1 2]}
{:process 0 :type :invoke :f :write :value [1 5]}
{:process 0 :type :ok :f :write :value [1 5]}
{:process 1 :type :invoke :f :cas :value ["x" [nil 5]]}
{:process 1 :type :fail :f :cas :value ["x" [nil 5]]}
{:process 1 :type :invoke :f :read :value ["x" nil]}
{:process 1 :type :ok :f :read :value ["x" [1 2]]}
"""


def test_jepsens_independent_keys_are_taken_out_of_the_values(tmp_path: Path) -> None:
    history, _ = read(write(tmp_path / "h.edn", TUPLES))
    assert [(row["key"], row["value"]) for row in history.rows()] == [
        (None, [1, 2]), (b"1", 5), (b"1", 5), (b"x", [None, 5]), (b"x", [None, 5]), (b"x", None),
        (b"x", [1, 2])]


@pytest.mark.parametrize("text", [
    TUPLES.replace(':value ["x" nil]', ""),                 # a read that asks nothing
    TUPLES.replace("[1 5]", "5"),
    TUPLES.replace(":process 0", ":process 0 :key 1"),
    "{:process 0 :type :invoke :f :txn :value [[:r 1 nil] [:r 2 nil]]}",
    "{:process 0 :type :invoke :f :cas :value [1 nil]}",
])
def test_values_of_two_are_keyed_only_where_they_can_be_nothing_else(
    tmp_path: Path, text: str,
) -> None:
    history, _ = read(write(tmp_path / "h.edn", text))
    assert set(history.keys) <= {b"1"}
    assert all(row["value"] != 2 for row in history.rows())
    assert all(row["key"] is None or row["value"] != 5 for row in history.rows()) or ":key" in text


@pytest.mark.parametrize(("text", "message"), [
    (b"\x1f\x8b\x08", "compressed; expected it unpacked, as by zcat FILE"),
    (b"\x00\x01junk", "it begins like no format that is known; expected one of arrow"),
    (b"  \n", "no events in it"),
    (b'{:process 0 :type :ok :f :read :value "\xff"}', "h:1: the value '\\udcff': "),
    (b'{:process 0 :type :ok :f :read :value "\\ud800"}', "h:1: the value '\\ud800': "),
    (b"{:process [0] :type :ok :f :read}", "h:1: the process [0]; expected a number or a name"),
    (b"{:process 0 :type :invoke :f :read :key 1}{:process 0 :type :ok :f :read :key \"1\"}",
     "h: the keys 1 and '1' are written the same"),
    (b'{"process":0,"type":"invoke","f":"read","key":1}\n{"process":1,"type":"ok","f":"read",'
     b'"key":true}\n{"process":1,"type":"ok","f":"read","key":"True"}', "the keys True and 'True'"),
])
def test_what_can_t_be_read_as_it_is_meant_is_refused(
    tmp_path: Path, text: bytes, message: str,
) -> None:
    (tmp_path / "h").write_bytes(text)
    with pytest.raises(BadHistory) as caught:
        read(tmp_path / "h")
    assert message in str(caught.value)


@pytest.mark.parametrize("text", [AS_EDN, AS_LINES, AS_TEXT, AS_JSON, AS_JSON_LINES])
def test_a_mark_of_utf8_at_the_beginning_is_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "h").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert len(read(tmp_path / "h")[0]) == len(EVENTS)


@pytest.mark.parametrize("format", ["edn", "arrow"])
def test_standard_input_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str,
) -> None:
    path = write(tmp_path / "h.edn", AS_EDN)
    if format == "arrow":
        table = read(path)[0]._table
        path = tmp_path / "history.arrow"
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    history, guessed = read("-")
    assert guessed == format
    assert list(history.rows()) == list(read(path)[0].rows())


def test_malformed_values_in_a_log_are_refused_with_their_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.log", AS_TEXT + "INFO  jepsen.util - 1\t:ok\t:read\t[1\n")
    with pytest.raises(BadHistory, match=r"x.log:6: the text ends where ']' was expected"):
        read(path)


def test_equal_sets_are_equal_however_they_are_written() -> None:
    for one, other in (("#{1 2 3}", "#{3 1 2}"), ('#{"a" nil {:a 1, :b 2}}',
                                                  '#{{:b 2, :a 1} "a" nil}')):
        assert loads(one) == loads(other)
    assert loads("[##Inf ##-Inf]") == [float("inf"), -float("inf")]
    assert str(loads("##NaN")) == "nan"


def test_edn_knows_its_notation() -> None:
    text = r"""[1 -2 +3 4N 0x1f 1.5 2.5M 12345678901234567890 :a/b sym nil true false
        "a\nb\u0041" \c \newline #{1} (2) {:k {:v 1}, [1] 2} #inst "2020" #_ [no] ,,, ; end"""
    assert loads(text + "\n]") == [
        1, -2, 3, 4, 31, 1.5, 2.5, 12345678901234567890, "a/b", "sym", None, True, False,
        "a\nbA", "c", "\n", [1], [2], {"k": {"v": 1}, (1,): 2}, "2020"]


@pytest.mark.parametrize("text", [
    "[1", "{:a}", "]", '"abc', '"\\', "\\", "12x", "[1 2}", "#", '"\\q"', "{", "[" * 300, ":", "",
    "1 2", "#_", "##", "##One", "\"\\u12\"", "{1 2 3}",
])
def test_text_that_is_no_edn_is_refused(text: str) -> None:
    with pytest.raises(EdnError):
        loads(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def spell(value: Any) -> str:
    """The slow twin: writes EDN."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[" + " ".join(map(spell, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{spell(k)} {spell(v)}" for k, v in value.items()) + "}"
    return repr(value)


@given(VALUES)
def test_what_is_written_as_edn_is_read_back(value: Any) -> None:
    assert loads(spell(value)) == value


@given(st.binary(max_size=60))
def test_bytes_that_mean_nothing_are_refused_without_a_crash(data: bytes) -> None:
    with contextlib.suppress(EdnError):
        loads(data)
    with contextlib.suppress(EdnError):
        Reader(data).events()


PIECES = st.sampled_from([
    "[1] call push(a)", "# @object atomic-queue", "[1] return", "[2] return empty", "# stack",
    "push 1 2 3", "pop 1 3 4", "w 1 2", "r 1 2", "-----", "=====", "w(1,2,3,4)", "r(1,2,3,4)",
    '{"type":"ok","f":"read","process":0}', "{:type :ok :f :read :process 0}", "[", "]", "INFO",
    "INFO  jepsen.util - 0 :ok :read 3", "\xff", "-", "9" * 30, '{"type":1}', "[]", "{}", "null"])


@pytest.mark.parametrize("format", sorted(READERS))
@given(text=st.lists(PIECES, max_size=6).map("\n".join) | st.text(max_size=40))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_reader_fails_but_by_saying_what_it_expected(
    tmp_path: Path, format: str, text: str,
) -> None:
    path = tmp_path / "h"
    path.write_text(text, encoding="utf-8")
    with contextlib.suppress(BadHistory):
        read(path, format)[0].pairs             # noqa: B018
