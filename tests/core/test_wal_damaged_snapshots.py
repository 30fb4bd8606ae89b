"""Damage in a log with snapshots: what it took is told until all of it is there again.

Most of these stories are what was left of random lives (wal_lives.py) that once ended wrong.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seatrial.core.recovery import Frame, Recovered, list_segments, recover
from seatrial.core.wal import Wal

from .nodes import until
from .wal_lives import SEGMENT, Group, chunk, record, stream
from .wal_tools import frames

LEADERS = 50                # the entry at which the leader's snapshot ends, of term 2


class Log:
    """A log in a folder, open even where it is damaged; who writes says after which entry."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.first = 1
        self.open()

    def open(self) -> Recovered:
        """Open the log; return what it holds."""
        self.wal = Wal.open(self.directory, segment_bytes=SEGMENT, damaged=True)
        self.seq = 0
        return self.wal.recovered

    def again(self) -> Recovered:
        """Close the log, and open it."""
        self.wal.close()
        return self.open()

    def write(self, group: Group) -> None:
        self.seq += 1
        self.wal.submit(self.seq, *group)
        self.wal.finish()
        until("segments are made and freed", lambda: self.wal.tidy)

    def entries(self, first: int, last: int, term: int = 1, base_term: int = 1,
                size: int = 0) -> None:
        """Write these entries, all of one term."""
        self.write(Group(term, 0, last - first + 1, b"".join(
            record(index, term, size) for index in range(first, last + 1)),
            first - 1, base_term if first > 1 else 0, b"", self.first))

    def chunk(self, index: int, term: int, offset: int, size: int, last: int) -> None:
        """Write a chunk of a snapshot to a log that ends with entry ``last`` of term 1."""
        self.write(Group(term, 0, 0, b"", last, 1, chunk(index, term, offset, size), self.first))

    def lose(self, number: int) -> Frame:
        """Make a frame unreadable."""
        frame = frames(self.directory)[number]
        data = bytearray(frame.path.read_bytes())
        data[frame.offset + 16] ^= 1
        frame.path.write_bytes(data)
        return frame


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path / "log")
    yield made
    made.wal.close()


def freed(log: Log) -> None:
    """Write entries 1 to 6 and a snapshot of them; only segments from that one on are left."""
    for index in range(1, 7):
        log.entries(index, index, size=1500)
    log.first = 7
    log.chunk(6, 1, 0, 10_000, 6)
    assert list_segments(log.directory)[0][0] > 1


def whole(log: Log) -> None:
    """Write entries 1 to 6."""
    log.entries(1, 6)


def test_the_leaders_snapshot_is_missed_though_no_frame_tells_of_it(log: Log) -> None:
    """It is what the log ends with: its first chunk is lost, its last one can be read."""
    log.entries(1, 3)
    assert len(stream(LEADERS, 2)) > 200
    log.chunk(LEADERS, 2, 0, 100, 3)
    log.chunk(LEADERS, 2, 100, 10_000, 3)
    log.lose(1)
    found = log.again()
    assert (found.snapshot, found.last_index, found.damaged_until) == (None, 3, LEADERS)


def test_a_snapshot_of_the_logs_own_that_damage_took_is_not_missed(log: Log) -> None:
    log.entries(1, 3)
    log.chunk(2, 1, 0, 10, 3)
    log.chunk(2, 1, 10, 10_000, 3)
    log.lose(1)
    found = log.again()
    assert (found.snapshot, found.last_index, found.damaged_until) == (None, 3, 0)


@pytest.mark.parametrize("begin", [freed, whole])
def test_entries_that_joined_do_not_hide_that_a_snapshot_is_missed(
    log: Log, begin: Callable[[Log], None]
) -> None:
    """Its first chunk is lost; the entry that was written next goes on with the log all the same.

    (The log was taken for whole when the first entry was written anew.)
    """
    begin(log)
    log.entries(7, 7)
    log.chunk(LEADERS, 2, 0, 100, 7)
    log.entries(8, 8, term=2)
    log.write(Group(2, 0, 2, record(51, 2) + record(52, 2), LEADERS, 2,
                    chunk(LEADERS, 2, 100, 10_000), log.first))
    log.lose(-3)
    found = log.again()
    assert (found.last_index, found.damaged_until) == (8, 52)
    for index in range(9, 53):
        assert found.damaged_until == 52
        log.entries(index, index, term=3, base_term=2 if index == 9 else 3)
        found = log.again()
        assert found.last_index == index
    assert found.damaged_until == 0


def test_what_tells_of_damage_is_not_freed_before_all_is_there_again(log: Log) -> None:
    """The snapshot holds entries up to 3; one after it is lost, in the oldest segment."""
    for index in range(1, 7):
        log.entries(index, index, size=1500)
    log.first = 4
    log.chunk(3, 1, 0, 10_000, 6)
    oldest = list_segments(log.directory)[0]
    assert log.lose(1).path == oldest[1]
    found = log.again()
    assert (found.last_index, found.damaged_until) == (3, 6)
    for index in (4, 5, 6):
        assert list_segments(log.directory)[0] == oldest
        assert log.again().damaged_until == 6
        log.entries(index, index, term=2, base_term=1 if index == 4 else 2)
    assert list_segments(log.directory)[0] > oldest
    found = log.again()
    assert (found.last_index, found.damaged_until) == (6, 0)


def test_what_tells_of_damage_is_freed_once_a_snapshot_holds_what_it_took(log: Log) -> None:
    log.entries(1, 2, size=1500)
    log.entries(3, 4, size=1500)
    log.entries(5, 6, size=1500)
    log.lose(0)
    found = log.again()
    assert (found.last_index, found.damaged_until) == (0, 6)
    log.first = 7
    log.write(Group(2, 0, 0, b"", 0, 0, chunk(6, 1, 0, 10_000), 7))
    assert list_segments(log.directory)[0][0] > 1
    found = log.again()
    assert (found.last_index, found.damaged_until) == (6, 0)


def test_what_a_lost_frame_took_back_does_not_come_back(log: Log) -> None:
    """The write after it took back what it held, too; but a crash left of that only the seal."""
    log.entries(1, 5)
    log.entries(4, 5, term=2)
    log.entries(4, 4, term=3, size=3500)
    path = list_segments(log.directory)[1][1]
    log.wal.close()
    path.write_bytes(path.read_bytes()[:64] + bytes(SEGMENT - 64))
    assert [frame.seal for frame in frames(log.directory)] == [False, False, True]
    log.lose(1)
    found = log.again()
    assert found.records == b"".join(record(index) for index in (1, 2, 3))
    assert (len(found.damage), found.damaged_until) == (1, 0)


def test_damage_to_what_was_written_anew_does_not_make_up_for_the_rest(log: Log) -> None:
    log.entries(1, 2)
    log.entries(3, 6)
    log.entries(7, 7)
    log.lose(1)
    assert log.again().damaged_until == 7
    log.entries(3, 4, term=2)
    log.entries(5, 5, term=2, base_term=2)
    log.lose(2)
    found = log.again()
    assert (found.last_index, found.damaged_until) == (2, 7)
    log.entries(3, 5, term=3)
    assert log.again().damaged_until == 7
    assert recover(log.directory).last_index == 5


def test_what_was_there_again_is_not_missed_once_the_log_begins_later(log: Log) -> None:
    """The newest snapshot frees the one that told where the log with the damage begins."""
    freed(log)
    log.entries(7, 7, size=3500)
    log.chunk(7, 1, 0, 100, 7)
    log.entries(8, 8)
    log.entries(9, 9)
    log.entries(10, 10)
    log.write(Group(1, 1, 0, b"", 10, 1, b"", log.first))
    log.lose(-2)
    found = log.again()
    assert (found.last_index, found.damaged_until) == (9, 10)
    log.entries(10, 11, term=2)
    assert log.again().damaged_until == 0
    oldest = list_segments(log.directory)[0]
    log.write(Group(2, 0, 0, b"", 11, 2, chunk(7, 1, 100, 10_000), 8))
    assert list_segments(log.directory)[0] > oldest
    found = log.again()
    assert found.damage
    assert (found.snapshot.last_index, found.last_index, found.damaged_until) == (7, 11, 0)
