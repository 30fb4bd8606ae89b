"""Snapshots in the log's files: taken whole or not at all, and what they replace goes.

The groups and the model of what a log must hold are those of the simulated lives (wal_lives.py).
"""
from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from seatrial.core import segment_files
from seatrial.core.errors import CorruptSegment, InvariantViolation, MissingSegment, NodeError
from seatrial.core.inspection import render_verified, verify
from seatrial.core.recovery import Snapshot, list_segments, recover, segment_path
from seatrial.core.wal import Wal
from seatrial.harness.rng import Rng

from .nodes import until
from .wal_lives import EMPTY, SEGMENT, Group, State, chunk, draw_group, record, stream
from .wal_tools import frames


class Files:
    """A log in a folder, and the model of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = EMPTY
        self.states: tuple[State, ...] = (EMPTY,)       # what a crash now may leave
        self.seq = 0
        self.wal = self.open()

    def open(self) -> Wal:
        wal = Wal.open(self.directory, segment_bytes=SEGMENT)
        assert self.state.is_in(wal.recovered)
        self.seq = 0
        return wal

    def write(self, group: Group) -> None:
        after = self.state.after(group)
        self.states = (self.state, after, self.state.sealed(group))
        self.seq += 1
        self.wal.submit(self.seq, *group, inline=bool(self.seq % 2))
        self.wal.finish()
        self.state = after
        self.states = (after,)

    def settle(self) -> None:
        until("the next segment is made, what is needless freed", lambda: self.wal.tidy)

    def again(self) -> None:
        """Close, and open."""
        self.wal.close()
        self.wal = self.open()

    # -- what a node does, in one call -----------------------------------------------------------

    def entries(self, *sizes: int, first: int = 0) -> None:
        last, term = self.state.last, max(self.state.term, 1)
        self.write(Group(term, 0, len(sizes), b"".join(
            record(last + i, term, size) for i, size in enumerate(sizes, 1)),
            last, self.state.term_at(last), b"", max(first, self.state.first)))

    def chunk(self, index: int, term: int, offset: int, size: int, first: int = 0) -> None:
        self.write(Group(max(self.state.term, term), 0, 0, b"", self.state.last,
                         self.state.term_at(self.state.last), chunk(index, term, offset, size),
                         max(first, self.state.first)))

    def snapshot(self, index: int, term: int = 1, size: int = 400, first: int = 0) -> None:
        for offset in range(0, len(stream(index, term)), size):
            self.chunk(index, term, offset, size, first)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    log = Files(tmp_path / "log")
    yield log
    log.wal.close()


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != "lock")


def test_a_snapshot_comes_back_with_the_entries_around_it(files: Files) -> None:
    files.entries(0, 0, 0, 0)
    files.chunk(3, 1, 0, 100)
    files.entries(0, 0)
    files.again()
    assert files.wal.recovered.snapshot is None
    assert files.wal.recovered.partial == Snapshot(3, 1, chunk(3, 1, 0, 100))
    files.chunk(3, 1, 100, 10_000)                      # the transfer goes on where it was
    files.entries(0)
    files.again()
    found = files.wal.recovered
    assert (found.snapshot, found.partial) == (
        Snapshot(3, 1, chunk(3, 1, 0, 100) + chunk(3, 1, 100, 10_000)), None)
    assert (found.first_index, found.last_index) == (1, 7)


def test_a_snapshot_that_is_begun_anew_forgets_the_one_before(files: Files) -> None:
    files.entries(0, 0, 0, 0)
    files.chunk(2, 1, 0, 100)
    files.chunk(4, 1, 0, 50)
    files.again()
    assert files.wal.recovered.partial == Snapshot(4, 1, chunk(4, 1, 0, 50))
    with pytest.raises(InvariantViolation, match="its chunk continues no snapshot"):
        files.chunk(2, 1, 100, 50)


@pytest.mark.parametrize("wrong", [
    chunk(4, 1, 99, 50), chunk(4, 1, 101, 50), chunk(4, 2, 100, 50), chunk(3, 1, 100, 50),
    record(5),
])
def test_a_chunk_that_goes_on_with_nothing_is_a_bug(files: Files, wrong: bytes) -> None:
    files.entries(0, 0, 0, 0)
    files.chunk(4, 1, 0, 100)
    with pytest.raises(InvariantViolation, match="its chunk continues no snapshot"):
        files.wal.submit(99, 9, 0, 0, b"", 4, 1, wrong)


def test_a_snapshot_beyond_the_log_replaces_it(files: Files) -> None:
    """A follower that is far behind is sent one (thesis, 5.3)."""
    files.entries(0, 0, 0)
    files.snapshot(50, 7)
    files.again()
    found = files.wal.recovered
    assert (found.first_index, found.base_term, found.last_index, found.records) == (51, 7, 50, b"")
    files.entries(0, 0)
    files.again()
    assert files.wal.recovered.last_index == 52


def test_a_snapshot_that_contradicts_the_log_replaces_all_of_it(files: Files) -> None:
    files.entries(0, 0, 0, 0, 0)
    files.snapshot(3, 2)
    assert (files.state.floor, files.state.last) == (3, 3)
    files.again()


def test_what_a_snapshot_replaces_is_freed_and_used_again(files: Files) -> None:
    for _ in range(12):
        files.entries(1500)
    files.settle()
    assert len(list_segments(files.directory)) == 7
    files.snapshot(10, first=9)                         # entry 9 began in segment 5
    files.settle()
    assert names(files.directory) == [
        *(f"{number:016x}.spare" for number in range(1, 5)),
        *(f"{number:016x}.wal" for number in range(5, 8))]
    for _ in range(4):
        files.entries(1500)
    files.settle()
    assert files.wal.stats()[-2:] == (4, 2)
    assert [name for name in names(files.directory) if name.endswith("spare")] == [
        f"{number:016x}.spare" for number in (1, 2)]
    files.again()
    assert files.wal.recovered.first_index == 9
    for _ in range(4):                                  # what spares there are is used
        files.entries(1500)
    files.settle()
    assert not [name for name in names(files.directory) if name.endswith("spare")]
    files.again()


def test_a_snapshot_that_is_not_complete_frees_nothing(files: Files) -> None:
    for _ in range(8):
        files.entries(1500)
    files.chunk(8, 1, 0, 10, first=9)
    files.entries(1500)
    files.settle()
    assert list_segments(files.directory)[0][0] == 1
    assert files.wal.freed == 0


def test_entries_that_no_snapshot_holds_are_kept_whatever_is_asked(files: Files) -> None:
    for _ in range(8):
        files.entries(1500)
    files.snapshot(3, first=1000)
    files.settle()
    assert files.wal.freed == 1
    files.again()


def test_only_some_spares_are_kept_and_none_of_another_size(files: Files, tmp_path: Path) -> None:
    for _ in range(20):
        files.entries(1500)
    files.snapshot(20, first=21)
    files.settle()
    assert len([name for name in names(files.directory) if name.endswith("spare")]) == 4
    assert files.wal.freed >= 9
    files.wal.close()
    Wal.open(files.directory, segment_bytes=2 * SEGMENT).close()
    assert not [name for name in names(files.directory) if name.endswith("spare")]


def test_a_torn_write_in_a_recycled_segment_is_cut(files: Files) -> None:
    for _ in range(12):
        files.entries(1500)
    files.snapshot(12, first=13)
    files.settle()
    for _ in range(6):
        files.entries(1500)
    files.settle()
    assert files.wal.stats().recycled
    files.wal.close()
    newest = frames(files.directory)[-1]
    data = bytearray(newest.path.read_bytes())
    assert data[32] == 1                                # its header says that it was recycled
    end = newest.offset + 56 + len(newest.records)
    for cut in (10, 56, 200):                           # the end of the write did not arrive
        broken = bytearray(data)
        broken[end - cut:end] = os.urandom(cut)
        newest.path.write_bytes(broken)
        found = recover(files.directory)
        assert (found.last_index, found.torn > 0) == (17, True)
        wal = Wal.open(files.directory, segment_bytes=SEGMENT)
        wal.close()
        assert recover(files.directory)[:6] == found[:6]
        assert recover(files.directory).torn == 0
    newest.path.write_bytes(data)


def test_a_log_whose_beginning_is_gone_without_a_snapshot_is_refused(files: Files) -> None:
    for _ in range(8):
        files.entries(1500)
    files.snapshot(6, first=1)
    files.wal.close()
    first, second, third = (path for _, path in list_segments(files.directory)[:3])
    first.unlink()
    assert recover(files.directory).first_index == 3    # the snapshot stands for what is gone
    for path in (second, third, segment_path(files.directory, 4)):
        path.unlink()
    with pytest.raises(MissingSegment, match=r"4\.wal is missing, and no later one"):
        recover(files.directory)
    files.wal = Wal.open(files.directory.with_name("other"), segment_bytes=SEGMENT)


def test_a_bit_flipped_in_a_chunk_is_told_and_the_snapshot_not_taken(files: Files) -> None:
    for _ in range(6):
        files.entries(1500)
    files.snapshot(6, size=150, first=7)
    files.entries(0)
    files.settle()
    files.wal.close()
    assert list_segments(files.directory)[0][0] > 1
    chunks = [frame for frame in frames(files.directory) if b"snapshot" in frame.records
              or (frame.entries == 1 and frame.records[64] == 5)]
    assert len(chunks) > 2
    for frame in chunks:
        whole = frame.path.read_bytes()
        for at in range(frame.offset, frame.offset + 56 + len(frame.records), 7):
            data = bytearray(whole)
            data[at] ^= 1 << at % 8
            frame.path.write_bytes(data)
            found = recover(files.directory)
            assert (found.snapshot, found.records, found.damaged_until) == (None, b"", 7)
            assert (found.first_index, found.base_term) == (1, 0)
            assert found.damage[0][:2] <= (frame.path, at)
        with pytest.raises(CorruptSegment):
            Wal.open(files.directory, segment_bytes=SEGMENT)
        frame.path.write_bytes(whole)
    files.wal = files.open()


# ---- crashes -----------------------------------------------------------------------------------


def test_a_crash_at_any_step_of_freeing_and_recycling_loses_nothing(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is copied before and after every write and every name that the preparer makes."""
    images: list[tuple[Path, tuple[State, ...]]] = []
    originals = segment_files.sync_directory, segment_files.write_at

    def copy() -> None:
        to = tmp_path / f"image{len(images)}"
        images.append((to, files.states))
        shutil.copytree(files.directory, to)

    def sync_directory(directory: Path) -> None:
        copy()
        originals[0](directory)

    def write_at(fd: int, data: bytes, offset: int) -> None:
        copy()
        if offset == 0 and len(data) == 64:
            originals[1](fd, data[:32], 0)              # a header of which half is there
            copy()
        originals[1](fd, data, offset)

    monkeypatch.setattr(segment_files, "sync_directory", sync_directory)
    monkeypatch.setattr(segment_files, "write_at", write_at)
    rng = Rng(7)
    while files.wal.stats().recycled < 8:
        files.write(draw_group(rng, files.state))
        files.settle()
    monkeypatch.undo()
    assert len(images) > 60
    for image, states in images:
        wal = Wal.open(image, segment_bytes=SEGMENT)
        try:
            assert any(state.is_in(wal.recovered) for state in states), image
            assert wal.recovered.damage == ()
        finally:
            wal.close()


@pytest.mark.randomised
def test_a_log_in_files_holds_what_the_model_does(tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED", "0")) or int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}: SEED={seed} python -m pytest {__file__} -k model")
    rng = Rng(seed)
    log = Files(tmp_path)
    try:
        for _ in range(400):
            log.write(draw_group(rng, log.state))
            if rng.below(20) == 0:
                log.again()
        log.again()
        assert log.wal.recovered.end_sequence > 10
        assert verify(tmp_path)["damage"] == []
    finally:
        log.wal.close()


# ---- verify ------------------------------------------------------------------------------------


def test_verify_names_every_damage_and_says_what_is_left(files: Files) -> None:
    for _ in range(8):
        files.entries(1500)
    files.chunk(5, 1, 0, 20)
    files.wal.close()
    good = verify(files.directory)
    assert (good["damage"], good["refused"], good["last_index"]) == ([], None, 8)
    assert good["partial"] == {"index": 5, "term": 1, "bytes": 20}
    assert render_verified(good).endswith(
        "incomplete snapshot at entry 5 of term 1: 20 bytes\ngood")
    hit = [frame for frame in frames(files.directory) if frame.entries][1:4:2]
    for frame in hit:
        data = bytearray(frame.path.read_bytes())
        data[frame.offset + 100] ^= 1
        frame.path.write_bytes(data)
    found = verify(files.directory)
    assert [(d["segment"], d["offset"]) for d in found["damage"]] == [
        (frame.path.name, frame.offset + 56) for frame in hit]
    assert found["refused"] == (
        "entries up to 8 were written, and of those after 1 something is missing")
    assert render_verified(found).splitlines()[-1] == "damaged"
    path = segment_path(files.directory, 3)
    path.write_bytes(b"x" + path.read_bytes()[1:])
    found = verify(files.directory)
    assert len(found["damage"]) == 3
    assert f"corrupt segment {path} at offset 0: not a segment" in found["refused"]
    with pytest.raises(NodeError, match="can't read the log's directory"):
        verify(files.directory.parent / "none")
