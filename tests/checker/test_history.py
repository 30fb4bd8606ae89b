"""The history file: what is written can be read, also after its writer was killed."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from seatrial.checker.errors import BadHistory
from seatrial.checker.history import FILE_NAME, NONE, SCHEMA, History, metadata, pack, unpack
from seatrial.checker.online.batches import Batches


def event(type: str, process: int, f: str, value: Any = None, key: bytes | None = b"k",
          **more: Any) -> dict[str, Any]:
    return {"type": type, "process": process, "f": f, "value": value, "key": key} | more


def write_stream(path: Path, batches: int, rows_each: int) -> None:
    with pa.ipc.new_stream(path, SCHEMA.with_metadata(metadata(seed=7))) as writer:
        for batch in range(batches):
            rows = [event("invoke", row, f"f{batch}", row) for row in range(rows_each)]
            columns = {name: [row.get(name) for row in rows] for name in SCHEMA.names}
            columns["type"] = [0] * rows_each
            columns["index"] = list(range(batch * rows_each, (batch + 1) * rows_each))
            writer.write_batch(pa.RecordBatch.from_pydict(columns, schema=SCHEMA))


@pytest.mark.parametrize("value", [
    None, 0, -1, 2**63 - 1, -(2**63), 2**63, True, False, "", "text", 1.5, [1, 2], [None], {"a": 1},
])
def test_a_value_survives_packing_with_its_type(value: Any) -> None:
    again = unpack(*pack(value))
    assert again == value
    assert type(again) is type(value)


def test_a_stream_written_in_batches_reads_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "history.arrow"
    write_stream(path, batches=3, rows_each=10)
    history = History.read(path)
    assert len(history) == 30
    assert history.complete
    assert history.metadata == {
        "seed": 7, "test": None, "model": None, "domains": None, "version": 1}
    assert [history.fs[code] for code in history.f[::10]] == ["f0", "f1", "f2"]
    assert history.value(13) == 3


def test_a_torn_stream_reads_up_to_its_last_whole_batch(tmp_path: Path) -> None:
    path = tmp_path / "history.arrow"
    write_stream(path, batches=3, rows_each=10)
    whole = path.read_bytes()
    sizes = set()
    for cut in range(len(whole) - 1, 1200, -13):
        path.write_bytes(whole[:cut])
        history = History.read(path)
        assert not history.complete
        assert len(history) % 10 == 0
        sizes.add(len(history))
    assert {10, 20, 30} <= sizes          # 30: only the end marker is gone


def test_a_stream_is_not_taken_for_torn_where_more_follows(tmp_path: Path) -> None:
    path = tmp_path / "history.arrow"
    write_stream(path, batches=3, rows_each=10)
    whole = path.read_bytes()
    broken = whole.replace(b"\xff\xff\xff\xff", b"\xff\xff\xff\xfe")
    broken = whole[:1500] + broken[1500:-8] + whole[-8:]
    for data, message in ((whole + whole, f"ends at byte {len(whole)}, and more follows"),
                          (broken, "damaged before byte")):
        path.write_bytes(data)
        with pytest.raises(BadHistory, match=message):
            History.read(path)
        with Batches.of(path) as batches, pytest.raises(BadHistory, match=r"damaged|more follows"):
            list(batches)


def test_a_file_that_is_no_stream_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "history.arrow"
    path.write_bytes(b"not arrow at all")
    with pytest.raises(BadHistory, match=r"history.arrow: not an Arrow stream"):
        History.read(path)
    with pytest.raises(BadHistory, match=r"absent.arrow: can't read it"):
        History.read(tmp_path / "absent.arrow")


def test_a_newer_format_is_refused() -> None:
    meta = metadata() | {b"seatrial.version": b"99"}
    with pytest.raises(BadHistory, match="format version 99"):
        History.from_rows([], meta=meta)


def test_invocations_meet_their_completions_and_the_nemesis_is_left_out() -> None:
    history = History.from_rows([
        event("invoke", 0, "read"),
        event("info", -1, "kill"),
        event("invoke", 1, "write", 4),
        event("ok", 0, "read", 4),
        event("invoke", 0, "read"),
        event("info", 1, "write", 4),
    ])
    invocations, completions = history.pairs
    assert invocations.tolist() == [0, 2, 4]
    assert completions.tolist() == [3, 5, NONE]


@pytest.mark.parametrize(("rows", "message"), [
    (["ok"], "1: process 0 completes an operation that it never invoked"),
    (["invoke", "invoke"], "2: process 0 invokes again before its last operation ended"),
    (["invoke", "ok", "fail"], "3: process 0 completes an operation that it never invoked"),
])
def test_a_history_that_contradicts_itself_is_refused_by_row(
    rows: list[str], message: str,
) -> None:
    history = History.from_rows([event(type, 0, "read") for type in rows])
    with pytest.raises(BadHistory, match=message):
        _ = history.pairs


def test_rows_of_a_key_are_found_in_order() -> None:
    history = History.from_rows([
        event("invoke", 0, "read", key=b"a"), event("invoke", 1, "read", key=b"b"),
        event("invoke", 2, "read", key=None), event("ok", 0, "read", key=b"a"),
    ])
    assert [history.rows_of(code).tolist() for code in range(2)] == [[0, 3], [1]]
    assert history.rows_of(NONE).tolist() == [2]


def test_values_come_as_integers_or_as_what_they_were() -> None:
    history = History.from_rows([event("invoke", i, "write", value)
                                 for i, value in enumerate([5, None, [1, 2], "x"])])
    ints, is_int, rest = history.values
    assert is_int.tolist() == [True, False, False, False]
    assert ints[0] == 5
    assert rest == {2: [1, 2], 3: "x"}
    assert [row["value"] for row in history.rows()] == [5, None, [1, 2], "x"]


def test_columns_hold_what_rows_hold() -> None:
    values = [None, 0, -1, 1 << 62, -(1 << 63), (1 << 63) - 1, 1 << 63, True, "", "x", [1, None],
              {"a": [1.5]}, b"\0", False]
    history = History.from_columns(type=[0] * len(values), process=list(range(len(values))),
                                   f=["write"] * len(values), value=values)
    assert [history.value(row) for row in range(len(values))] == values
    rows = History.from_rows({"type": 0, "process": i, "f": "write", "value": value}
                             for i, value in enumerate(values))
    assert [history.values[0].tolist(), history.values[2]] == [
        rows.values[0].tolist(), rows.values[2]]


@pytest.mark.parametrize(("end", "message"), [
    ({"f": "read"}, "history:2: the operation that ends here does read; expected write, as"),
    ({"key": b"y"}, "history:2: the operation that ends here has the key y; expected x, as"),
    ({"type": 7}, "history:2: the type 7; expected 0 to 3"),
])
def test_an_end_that_is_another_operations_is_refused(
    end: dict[str, object], message: str,
) -> None:
    begin = {"type": "invoke", "process": 0, "f": "write", "key": b"x", "value": 1}
    with pytest.raises(BadHistory) as caught:
        History.from_rows([begin, begin | {"type": "ok"} | end]).pairs      # noqa: B018
    assert str(caught.value).startswith(message)
    assert len(History.from_rows([begin, begin | {"type": "ok", "key": None}]).pairs[0]) == 1


def test_a_stream_whose_columns_are_of_other_types_is_refused(tmp_path: Path) -> None:
    row = {"type": "invoke", "process": 0, "f": "read"}
    table = History.from_rows([row]).table
    odd = table.set_column(1, "time", table.column("time").cast(pa.float64()))
    with pa.ipc.new_stream(tmp_path / FILE_NAME, odd.schema) as writer:
        writer.write_table(odd)
    with pytest.raises(BadHistory, match="the column time is of double; expected int64"):
        History.read(tmp_path / FILE_NAME)


def test_processes_of_any_number_are_told_apart() -> None:
    large = (1 << 31) - 1
    history = History.from_rows([
        event("invoke", large, "write", 1),
        event("invoke", -5, "write", 2),
        event("info", -1, "kill"),
        event("ok", large, "write", 1),
        event("invoke", large, "read"),
    ])
    invocations, completions = history.pairs
    assert invocations.tolist() == [0, 1, 4]
    assert completions.tolist() == [3, NONE, NONE]
    twice = History.from_rows([event("invoke", large, "read")] * 2)
    with pytest.raises(BadHistory, match=f"process {large} invokes again"):
        _ = twice.pairs
