"""Histories in other formats: what is read, and what is said of files that are malformed."""
from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from seatrial.checker import BadHistory
from seatrial.checker.edn import EdnError, Reader, loads
from seatrial.checker.readers import read

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


def test_keys_and_nemesis_are_told_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "h.edn", """
        {:process :nemesis, :type :info, :f :kill, :value nil}
        {:process 3, :type :invoke, :f :get, :key "a", :value nil}
        {:process 3, :type :ok, :f :get, :key "a", :value "x"}
        {:process 4, :type :invoke, :f :get, :key 7, :value nil}""")
    history, _ = read(path)
    assert history.process.tolist() == [-1, 3, 3, 4]
    assert history.keys == [b"a", b"7"]
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
])
def test_malformed_edn_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "h.edn", text)
    with pytest.raises(BadHistory) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [
    ('[{"type":"ok","f":"read"},\n{"type":"ok"}]', "not a history in JSON"),
    ('[{"type":"ok",\n"f":"read"', "not a history in JSON"),
    ('{"type":"ok","f":"read"}\n{"type":"done","f":"read"}', "2: event 2 has the type 'done'"),
])
def test_malformed_json_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "h.json", text)
    with pytest.raises(BadHistory) as caught:
        read(path)
    assert message in str(caught.value)


def test_malformed_values_in_a_log_are_refused_with_their_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.log", AS_TEXT + "INFO  jepsen.util - 1\t:ok\t:read\t[1\n")
    with pytest.raises(BadHistory, match=r"x.log:6: the text ends where ']' was expected"):
        read(path)


def test_edn_knows_its_notation() -> None:
    text = r"""[1 -2 +3 4N 0x1f 1.5 2.5M 12345678901234567890 :a/b sym nil true false
        "a\nb\u0041" \c \newline #{1} (2) {:k {:v 1}, [1] 2} #inst "2020" #_ [no] ,,, ; end"""
    assert loads(text + "\n]") == [
        1, -2, 3, 4, 31, 1.5, 2.5, 12345678901234567890, "a/b", "sym", None, True, False,
        "a\nbA", "c", "\n", [1], [2], {"k": {"v": 1}, (1,): 2}, "2020"]


@pytest.mark.parametrize("text", [
    "[1", "{:a}", "]", '"abc', '"\\', "\\", "12x", "[1 2}", "#", '"\\q"', "{", "[" * 300, ":", "",
    "1 2", "#_", "\"\\u12\"", "{1 2 3}",
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
