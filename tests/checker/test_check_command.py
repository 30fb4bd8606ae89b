"""``seatrial check``: files, folders, corpora, and bad input in one line."""
from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from seatrial.checker.history import FILE_NAME, SCHEMA, History, metadata
from seatrial.harness.cli import main

CORPUS = Path(__file__).parents[3] / "shared" / "corpus" / "index.tsv"
GOOD = "{:process 0 :type :invoke :f :write :value 1}\n{:process 0 :type :ok :f :write :value 1}\n"
BAD = GOOD + "{:process 0 :type :invoke :f :read}\n{:process 0 :type :ok :f :read :value 2}\n"
BAD_AS_JSON = "\n".join(
    f'{{"process":0,"type":"{type}","f":"{f}","value":{value}}}' for type, f, value in (
        ("invoke", "write", 1), ("ok", "write", 1), ("invoke", "read", "null"), ("ok", "read", 2)))
HEAD = "file\tformat\tmodel\tinitial_value\texpected\tnote\n"


def test_a_good_history_exits_0_and_a_bad_one_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    for text, code, said in ((GOOD, 0, "linearizable: pass: 1 operations on 1 keys"),
                             (BAD, 1, "nobody had written 2")):
        (tmp_path / "h.edn").write_text(text)
        assert main(["check", str(tmp_path / "h.edn"), "--engine", "search"]) == code
        assert said in capsys.readouterr().out


@pytest.mark.parametrize("options", [[], ["--online"], ["--model", "fifo-queue"],
                                     ["--model", "list-append"], ["--engine", "search"]])
@pytest.mark.parametrize("text", [
    "{:process :nemesis :type :info :f :kill}",
    "{:process 0 :type :invoke :f %s}\n{:process 0 :type :fail :f %s}",
    "{:process 0 :type :invoke :f %s}\n{:process 0 :type :info :f %s}",
])
def test_a_history_in_which_nothing_was_answered_does_not_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, options: list[str],
) -> None:
    f = (":dequeue" if "fifo-queue" in options else ":txn :value [[:append 1 1]]"
         if "list-append" in options else ":write :value 1")
    (tmp_path / "h.edn").write_text(text.replace("%s", f))
    assert main(["check", str(tmp_path / "h.edn"), *options]) == 3
    assert "no-coverage: no operation was answered" in capsys.readouterr().out


def test_an_anomaly_of_transactions_is_drawn_in_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "h.edn").write_text("\n".join(
        f"{{:process {process} :type :{type} :f :txn :value {value}}}"
        for type in ("invoke", "ok")
        for process, value in ((0, '[[:r "x" []] [:append "y" 1]]'),
                               (1, '[[:r "y" []] [:append "x" 2]]'))))
    assert main(["check", str(tmp_path / "h.edn")]) == 1
    said = capsys.readouterr().out
    assert "not strict-serializable: G2" in said
    assert "  +-> p0  r x -> [], append y 1  (rows 0-2)\n" in said
    assert "  |   p1  r y -> [], append x 2  (rows 1-3)\n" in said
    assert "  +-----+" in said


def test_a_runs_folder_is_judged_by_all_checks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [{"process": 0, "type": type, "f": "write", "value": 1, "key": b"x"}
            for type in ("invoke", "ok")]
    table = History.from_rows(rows)._table
    with pa.ipc.new_stream(tmp_path / FILE_NAME, SCHEMA.with_metadata(metadata())) as writer:
        writer.write_table(table)
    assert main(["check", str(tmp_path), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert [(result["name"], result["verdict"]) for result in results] == [
        ("linearizable", "pass"), ("stats", "pass"), ("unhandled-exceptions", "pass")]


def test_a_history_without_an_end_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["generate", "--ops", "100", "-o", str(tmp_path / "h.arrow")]) == 0
    assert main(["check", str(tmp_path / "h.arrow")]) == 0
    assert "no end" not in capsys.readouterr().err
    (tmp_path / "h.arrow").write_bytes((tmp_path / "h.arrow").read_bytes()[:-8])
    assert main(["check", str(tmp_path / "h.arrow")]) == 0
    assert "h.arrow: it has no end: its writer was stopped" in capsys.readouterr().err


def test_the_initial_value_and_the_model_can_be_given(tmp_path: Path) -> None:
    path = tmp_path / "h.edn"
    path.write_text("{:process 0 :type :invoke :f :read}\n"
                    "{:process 0 :type :ok :f :read :value 7}\n")
    assert main(["check", str(path), "--engine", "search"]) == 1
    assert main(["check", str(path), "--engine", "search", "--initial", "7",
                 "--model", "cas-register"]) == 0


@pytest.mark.parametrize(("arguments", "message"), [
    (["h.edn", "--model", "heap"], "'heap' is not one of"),
    (["h.edn", "--memory", "lots"], "'lots' is not a size; expected a number and K, M or G"),
    (["h.edn", "--initial", "{"], "--initial '{' is not JSON"),
    (["h.edn", "--initial", "9" * 30], "can't be a value: "),
    (["h.edn", "--initial", "1", "--model", "set-full"], "an initial value is one of registers"),
    (["h.edn", "--time", "nan"], "nan is not in the range 0.001 to 1e+09"),
    (["h.edn", "--time", "inf"], "inf is not in the range"),
    (["h.edn", "--index", "i.tsv"], "expected either FILE or --index INDEX"),
    ([], "expected either FILE or --index INDEX"),
    (["absent.edn"], "absent.edn: can't read it: No such file or directory"),
    (["broken.edn"], "broken.edn:2: "),
    (["queue.edn", "--model", "register"], "queue.edn:1: the register model does not know"),
    (["--index", "absent.tsv"], "absent.tsv: can't read the index"),
    (["--index", "h.edn"], "h.edn:1: the index has no column file"),
])
def test_bad_input_is_one_line_and_exit_254(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("h.edn").write_text(GOOD)
    Path("broken.edn").write_text(GOOD.splitlines()[0] + "\n{:process 0 :type :ok :f")
    Path("queue.edn").write_text("{:process 0 :type :invoke :f :enqueue :value 1}")
    assert main(["check", *arguments]) == 254
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_an_index_hides_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.edn").write_text(GOOD)
    (tmp_path / "bad.edn").write_text(BAD)
    (tmp_path / "bad.json").write_text(BAD_AS_JSON)
    (tmp_path / "broken.edn").write_text("{")
    index = tmp_path / "index.tsv"
    agreeing = (HEAD + "good.edn\tedn\tcas-register\tnil\ttrue\t\n"
                + "bad.edn\tedn\tregister\tnil\tfalse\t\n"
                + "bad.edn\tedn\tregister\tnil\ttrue\tdisputed: we think otherwise\n"
                + "bad.json\tjson\tregister\tnil\ttrue\t\n"
                + "them/x.hist\tlimo\tpair-snapshot\tempty\ttrue\t\n")
    index.write_text(agreeing)
    assert main(["check", "--index", str(index), "--engine", "search"]) == 0
    out = capsys.readouterr().out
    assert "disputed, not counted: bad.edn: expected pass, found violation" in out
    assert "nobody had written 2 (the same history as bad.edn)" in out
    assert "unsupported: 1 of them: limo (pair-snapshot)" in out
    assert "2 agree, 0 disagree, 0 undecided, 0 unreadable, 2 disputed, 1 unsupported" in out
    index.write_text(agreeing + "broken.edn\tedn\tregister\tnil\ttrue\t\n")
    assert main(["check", "--index", str(index), "--engine", "search"]) == 254
    assert f"unreadable: broken.edn: {tmp_path}/broken.edn:1: " in capsys.readouterr().out
    index.write_text(agreeing + "good.edn\tedn\tregister\tnil\tfalse\t\n")
    assert main(["check", "--index", str(index), "--engine", "search"]) == 1
    assert "DISAGREES: good.edn: expected violation, found pass" in capsys.readouterr().out


@pytest.mark.skipif(not CORPUS.exists(), reason=f"no corpus at {CORPUS.parent}")
def test_the_corpus_of_others_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--index", str(CORPUS)]) == 0
    out = capsys.readouterr().out
    assert "agrees: 61 of knossos: edn (cas-register)" in out
    assert "agrees: 52 of porcupine: jepsen-text (cas-register)" in out
    assert "agrees: 2 of porcupine: edn (kv)" in out
    assert "agrees: 505 of LiMo: limo (fifo-queue)" in out
    assert "agrees: 82 of LiMo: limo (stack)" in out
    assert "agrees: 11 of AWDIT: awdit (rw-register)" in out
    assert "725 agree, 0 disagree, 0 undecided, 0 unreadable, 5 disputed, 0 unsupported" in out
