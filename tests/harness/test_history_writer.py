"""The history writer: what was appended can be read, also when its writer or the disk dies."""
from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seatrial.checker.history import History, metadata
from seatrial.harness.errors import HarnessFailure
from seatrial.harness.history import BATCH_ROWS, MAX_ERROR, MAX_ERRORS, TOO_MANY, HistoryWriter
from seatrial.harness.op import INFO, INVOKE, OK, Op

META = metadata(seed=7, test={"name": "t"})


def write(path: Path, ops: list[Op]) -> History:
    with HistoryWriter(path, META) as writer:
        for op in ops:
            writer.append(op)
    return History.read(path)


def test_every_field_of_an_event_comes_back(tmp_path: Path) -> None:
    op = Op("cas", [1, 2, None], b"\xffkey", OK, 12, 345, "why", 2, 1, 99, 65537, 4)
    history = write(tmp_path / "h", [op])
    assert list(history.rows()) == [{
        "index": 0, "time": 345, "process": 12, "type": "ok", "f": "cas", "key": b"\xffkey",
        "value": [1, 2, None], "node": 2, "domain": 1, "rindex": 99, "epoch": 65537, "term": 4,
        "error": "why"}]
    assert history.complete
    assert history.metadata["seed"] == 7
    assert history.metadata["test"] == {"name": "t"}


def test_an_empty_history_can_be_read(tmp_path: Path) -> None:
    history = write(tmp_path / "h", [])
    assert len(history) == 0
    assert history.complete


values = st.recursive(
    st.none() | st.booleans() | st.integers(-2**63, 2**64 - 1) | st.text() | st.binary()
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


@given(value=values)
def test_every_value_comes_back(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    history = write(tmp_path_factory.mktemp("h") / "h", [Op("write", value, process=0)])
    assert history.value(0) == value
    assert type(history.value(0)) is type(value)


@pytest.mark.parametrize("value", [object(), 1 << 64, [1 << 70]])
def test_a_value_that_cannot_be_stored_is_named(tmp_path: Path, value: Any) -> None:
    with HistoryWriter(tmp_path / "h", META) as writer, \
            pytest.raises(HarnessFailure, match="h: can't store the value of 'write'"):
        writer.append(Op("write", value, process=0))


def test_events_get_their_index(tmp_path: Path) -> None:
    ops = [Op("read", process=0), Op("read", type=OK, process=0)]
    write(tmp_path / "h", ops)
    assert [op.index for op in ops] == [0, 1]


def test_an_event_is_copied_when_it_is_appended(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path / "h", META) as writer:
        op = Op("cas", [1, 2], process=0)
        writer.append(op)
        op.type = OK
        op.value.append(3)
        writer.append(op)
    assert [row["value"] for row in History.read(tmp_path / "h").rows()] == [[1, 2], [1, 2, 3]]


def test_many_batches_with_growing_dictionaries_are_one_history(tmp_path: Path) -> None:
    n = 3 * BATCH_ROWS + 5
    ops = [Op(f"f{i // 2000}", i, type=INFO, process=i, error=None if i % 3 else f"e{i // 1000}")
           for i in range(n)]
    history = write(tmp_path / "h", ops)
    assert [history.fs[code] for code in history.f] == [f"f{i // 2000}" for i in range(n)]
    assert [None if code < 0 else history.errors[code] for code in history.error] == [
        None if i % 3 else f"e{i // 1000}" for i in range(n)]
    assert history.index.tolist() == list(range(n))


def test_a_batch_is_written_when_it_is_full_without_being_asked(tmp_path: Path) -> None:
    path = tmp_path / "h"
    with HistoryWriter(path, META) as writer:
        for i in range(BATCH_ROWS):
            writer.append(Op("read", process=i))
        history = History.read(path)
        assert len(history) == BATCH_ROWS
        assert not history.complete


def test_flush_writes_what_there_is(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path / "h", META) as writer:
        writer.append(Op("read", process=0))
        writer.flush()
        assert len(History.read(tmp_path / "h")) == 1
        size = (tmp_path / "h").stat().st_size
        writer.flush()
        assert (tmp_path / "h").stat().st_size == size


def test_a_long_error_is_cut(tmp_path: Path) -> None:
    history = write(tmp_path / "h", [Op("read", type=INFO, process=0, error="x" * 10_000)])
    assert history.errors == ["x" * MAX_ERROR]


def test_more_different_errors_than_a_dictionary_holds_are_lumped_together(tmp_path: Path) -> None:
    ops = [Op("read", type=INFO, process=i, error=f"e{i}") for i in range(MAX_ERRORS + 3)]
    history = write(tmp_path / "h", ops)
    words = [history.errors[code] for code in history.error]
    assert words[:MAX_ERRORS] == [f"e{i}" for i in range(MAX_ERRORS)]
    assert words[MAX_ERRORS:] == [TOO_MANY] * 3


def test_a_writer_killed_in_mid_run_leaves_all_whole_batches(tmp_path: Path) -> None:
    path = tmp_path / "history.arrow"
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from seatrial.checker.history import metadata
        from seatrial.harness.history import HistoryWriter
        from seatrial.harness.op import Op
        writer = HistoryWriter(Path(sys.argv[1]), metadata(seed=1))
        i = 0
        while True:
            writer.append(Op("write", i, b"k%d" % (i % 7), process=i % 5, time_ns=i,
                             error=f"e{i // 10_000}"))
            i += 1
            if i % 4096 == 0:
                print(i, flush=True)
    """)
    writer = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE,
                              env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    try:
        assert writer.stdout is not None
        for line in writer.stdout:
            promised = int(line)
            if promised >= 10 * BATCH_ROWS:
                break
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        if writer.stdout is not None:
            writer.stdout.close()
    history = History.read(path)
    assert len(history) >= promised
    assert len(history) % BATCH_ROWS == 0
    assert not history.complete
    ints, is_int, _ = history.values
    assert is_int.all()
    assert ints.tolist() == list(range(len(history)))
    assert history.errors[history.error[-1]] == f"e{(len(history) - 1) // 10_000}"


def test_a_file_cut_anywhere_is_readable_up_to_its_last_whole_batch(tmp_path: Path) -> None:
    path, ends = tmp_path / "h", []
    with HistoryWriter(path, META) as writer:
        header = path.stat().st_size
        for i in range(5):
            writer.append(Op(f"f{i}", i, process=0, error=f"e{i}"))
            writer.flush()
            ends.append(path.stat().st_size)
    data = path.read_bytes()
    for size in range(header, len(data) + 1, 41):
        path.write_bytes(data[:size])
        whole = sum(end <= size for end in ends)
        assert [row["value"] for row in History.read(path).rows()] == list(range(whole)), size


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "history.arrow"
    with pytest.raises(HarnessFailure, match=f"{path}: can't write the history: No such file"):
        HistoryWriter(path, META)


def test_a_full_disk_is_named_and_what_was_written_before_stays_whole(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk's end: write fails in the same way."""
    path = tmp_path / "history.arrow"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    writer = HistoryWriter(path, META)
    writer.append(Op("write", 1, process=0, type=INVOKE))
    writer.flush()
    whole = path.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole + 100, before[1]))
    try:
        writer.append(Op("write", "x" * 1000, process=0, type=OK))
        with pytest.raises(HarnessFailure, match=f"{path}: can't write the hist.*: File too large"):
            writer.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.stat().st_size == whole
    assert [row["value"] for row in History.read(path).rows()] == [1]
    writer.append(Op("write", 2, process=0, type=OK))
    with pytest.raises(HarnessFailure, match="can't write the history"):
        writer.close()
