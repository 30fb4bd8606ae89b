"""The write-ahead log as a node uses it: what was durable comes back, nothing else does."""
from __future__ import annotations

import select
from pathlib import Path

import pytest

from seatrial.core.errors import DirectoryInUse, InvariantViolation, MissingSegment, NodeError
from seatrial.core.recovery import Repair, list_segments, recover, recover_images
from seatrial.core.segment import encode_segment_header
from seatrial.core.wal import Wal

from .nodes import until
from .wal_tools import SEGMENT, frames, group, record, reopen, write_groups


def test_an_empty_log_recovers_as_nothing(tmp_path: Path) -> None:
    found, repairs = reopen(tmp_path)
    assert (found.term, found.vote, found.records, found.last_index) == (0, 0, b"", 0)
    assert repairs == []


def test_records_and_hard_state_come_back_in_order(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 2, group(1, 3)), (1, 2, group(4, 1)), (3, 1, b"")])
    found, _ = reopen(tmp_path)
    assert (found.term, found.vote) == (3, 1)
    assert found.records == group(1, 4)
    assert (found.first_index, found.last_index, found.frames) == (1, 4, 3)


def test_a_record_voids_all_older_ones_from_its_index_on(tmp_path: Path) -> None:
    write_groups(tmp_path, [
        (1, 0, group(1, 5)), (2, 0, group(3, 1, term=2)), (3, 0, group(4, 2, term=3)),
        (4, 0, group(5, 1, term=4)),
    ])
    found, _ = reopen(tmp_path)
    assert found.records == group(1, 2) + record(3, 2, b"3/2") + record(4, 3, b"4/3") + record(
        5, 4, b"5/4")
    assert found.voided == 4


def test_the_whole_log_can_be_voided(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 0, group(1, 5)), (2, 0, group(1, 1, term=2))])
    assert reopen(tmp_path)[0].records == group(1, 1, term=2)


def test_a_log_goes_on_over_many_segments_and_many_lives(tmp_path: Path) -> None:
    at = 1
    for life in range(4):
        groups = []
        for size in (0, 900, 1, 2300, 17, 0):
            groups.append((life + 1, 0, group(at, 1, size=size)))
            at += 1
        write_groups(tmp_path, groups)
    found, repairs = reopen(tmp_path)
    assert found.last_index == at - 1 == 24
    assert found.segments > 4
    assert repairs == []
    assert [frame.seal for frame in frames(tmp_path)].count(True) == found.end_sequence - 1


@pytest.mark.parametrize("inline", [True, False])
def test_a_group_write_is_durable_when_it_says_so(tmp_path: Path, inline: bool) -> None:
    wal = Wal.open(tmp_path, segment_bytes=SEGMENT)
    try:
        at_once = wal.submit(1, 1, 0, 2, group(1, 2), inline=inline)
        assert at_once is inline
        if not at_once:
            assert wal.busy
            assert wal.durable == 0
            assert select.select([wal.done_fd], [], [], 60)[0] == [wal.done_fd]
        assert wal.completed() == wal.durable == 1
        assert not wal.busy
        assert recover(tmp_path).records == group(1, 2)
        assert wal.stats().syncs == 1
        assert sum(wal.stats().sync_us_log2) == 1
    finally:
        wal.close()


def test_close_finishes_the_group_write_in_flight(tmp_path: Path) -> None:
    wal = Wal.open(tmp_path, segment_bytes=SEGMENT)
    wal.submit(1, 1, 0, 1, group(1, 1))
    wal.close()
    assert recover(tmp_path).records == group(1, 1)


def test_a_second_group_write_in_flight_is_a_bug(tmp_path: Path) -> None:
    wal = Wal.open(tmp_path, segment_bytes=SEGMENT)
    try:
        wal.submit(1, 1, 0, 1, group(1, 1))
        with pytest.raises(InvariantViolation, match="group write 2 submitted while 1 is in"):
            wal.submit(2, 1, 0, 1, group(2, 1))
    finally:
        wal.close()


@pytest.mark.parametrize(("count", "records", "message"), [
    (2, group(1, 1), "is not 2 whole records"),
    (1, group(2, 1), "is not 1 whole records after entry 0"),
    (1, group(1, 2), "is not 1 whole records"),
    (1, group(1, 1)[:-1], "is not 1 whole records"),
    (0, b"\0" * 72, "is not 0 whole records"),
    (1, group(1, 1, size=SEGMENT), "in segments of 4096"),
])
def test_a_group_write_that_makes_no_sense_is_a_bug(
    tmp_path: Path, count: int, records: bytes, message: str
) -> None:
    wal = Wal.open(tmp_path, segment_bytes=SEGMENT)
    try:
        with pytest.raises(InvariantViolation, match=message):
            wal.submit(1, 1, 0, count, records)
    finally:
        wal.close()


def test_group_writes_are_numbered_upwards(tmp_path: Path) -> None:
    wal = Wal.open(tmp_path, segment_bytes=SEGMENT)
    try:
        wal.submit(7, 1, 0, 0, b"", inline=True)
        with pytest.raises(InvariantViolation, match="group write 7 comes after 7"):
            wal.submit(7, 1, 0, 0, b"", inline=True)
    finally:
        wal.close()


def test_the_largest_group_that_fits_a_segment_is_taken(tmp_path: Path) -> None:
    overhead = 64 + 2 * 56 + 8 + 72
    write_groups(tmp_path, [
        (1, 0, group(1, 1)), (1, 0, record(2, 1, bytes(SEGMENT - overhead)))])
    assert recover(tmp_path).last_index == 2


def test_two_processes_cannot_open_one_log(tmp_path: Path) -> None:
    wal = Wal.open(tmp_path, segment_bytes=SEGMENT)
    try:
        with pytest.raises(DirectoryInUse, match=r"is open in another process"):
            Wal.open(tmp_path, segment_bytes=SEGMENT)
    finally:
        wal.close()
    reopen(tmp_path)


def test_a_log_that_must_exist_is_not_made_anew(tmp_path: Path) -> None:
    with pytest.raises(MissingSegment, match=r"0000000000000001.wal is missing"):
        Wal.open(tmp_path, segment_bytes=SEGMENT, create=False)
    assert list_segments(tmp_path) == []


def test_a_missing_segment_is_refused_wherever_it_was(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 0, group(i, 1, size=2500)) for i in range(1, 5)])
    segments = list_segments(tmp_path)
    assert len(segments) == 5                   # four with a record each, one made ahead
    for _, path in segments[:4]:
        kept = path.rename(tmp_path / "kept")
        with pytest.raises(MissingSegment, match=path.name):
            recover(tmp_path)
        kept.rename(path)
    segments[4][1].rename(tmp_path / "kept")    # nothing was in it: made again
    assert reopen(tmp_path)[0].last_index == 4
    for _, path in list_segments(tmp_path)[3:]:
        path.unlink()                           # the newest one that was in use, and the next
    with pytest.raises(MissingSegment, match=segments[3][1].name):
        recover(tmp_path)


def test_an_unfinished_segment_of_an_earlier_run_is_removed(tmp_path: Path) -> None:
    (tmp_path / "next.tmp").write_bytes(b"half a segment")
    write_groups(tmp_path, [(1, 0, group(1, 1))])
    assert not (tmp_path / "next.tmp").exists()
    assert recover(tmp_path).last_index == 1


def test_a_segment_made_ahead_is_used_by_the_next_run(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 0, group(1, 1, size=2500)), (1, 0, group(2, 1, size=2500))])
    ahead = list_segments(tmp_path)[-1][1]
    salt = ahead.read_bytes()[16:24]
    write_groups(tmp_path, [(1, 0, group(3, 1, size=2500))])
    assert ahead.read_bytes()[16:24] == salt
    assert recover(tmp_path).last_index == 3


def test_segments_may_be_larger_from_one_run_to_the_next(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 0, group(1, 1, size=2500))])
    wal = Wal.open(tmp_path, segment_bytes=4 * SEGMENT)
    try:
        wal.submit(1, 1, 0, 1, group(2, 1, size=3 * SEGMENT), 1, 1)
        wal.finish()
    finally:
        wal.close()
    assert recover(tmp_path).records == group(1, 1, size=2500) + group(2, 1, size=3 * SEGMENT)


def test_what_a_recycled_segment_still_holds_is_not_replayed(tmp_path: Path) -> None:
    write_groups(tmp_path, [(5, 3, group(1, 3))])
    segment = list_segments(tmp_path)[0][1]
    stale = segment.read_bytes()
    assert frames(tmp_path)
    segment.write_bytes(encode_segment_header(1, 4711, SEGMENT) + stale[64:])
    found, _ = reopen(tmp_path)
    assert (found.term, found.vote, found.records, found.frames) == (0, 0, b"", 0)
    assert not found.torn_frame


def test_stale_frames_do_not_follow_a_shorter_new_one(tmp_path: Path) -> None:
    """The new life's first frame ends exactly where an old frame begins."""
    write_groups(tmp_path, [(1, 0, group(1, 1)), (1, 0, group(2, 1))])
    segment = list_segments(tmp_path)[0][1]
    old = segment.read_bytes()
    for path in (path for _, path in list_segments(tmp_path)):
        path.unlink()
    write_groups(tmp_path, [(1, 0, group(1, 1))])
    new = segment.read_bytes()
    segment.write_bytes(new[:frames(tmp_path)[0].offset + 56 + 88] + old[64 + 144:])
    found, _ = reopen(tmp_path)
    assert found.records == group(1, 1)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NodeError, match=rf"can't use {tmp_path}/file/log for the log"):
        Wal.open(tmp_path / "file" / "log")


def test_closing_leaves_no_descriptor_and_no_thread_behind(tmp_path: Path) -> None:
    def held() -> list[int]:
        return [len(list(Path("/proc/self", name).iterdir())) for name in ("fd", "task")]

    before = held()
    for _ in range(3):
        write_groups(tmp_path, [(1, 0, b"")])
    until("a joined thread leaves /proc a moment later", lambda: held() == before)


def test_bytes_are_read_as_files_are(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 0, group(i, 1, size=2500)) for i in range(1, 4)])
    images = [(sequence, path, path.read_bytes()) for sequence, path in list_segments(tmp_path)]
    assert len(images) == 4
    assert recover_images(images) == recover(tmp_path)
    assert recover_images([]) == recover_images(iter(()))
    assert recover_images([]).segments == 0
    with pytest.raises(MissingSegment, match=r"0000000000000003.wal is missing"):
        recover_images(images[:2])


def test_the_newest_frame_is_to_be_written_again(tmp_path: Path) -> None:
    """It may be in the kernel's cache only, and a sync that failed has marked it as written."""
    assert recover(tmp_path).repairs == ()
    write_groups(tmp_path, [(1, 0, b""), (1, 0, group(1, 1))])
    newest = frames(tmp_path)[-1]
    again = Repair(1, newest.offset, 56 + len(newest.records) + -len(newest.records) % 8, False)
    assert recover(tmp_path).repairs == (again,)
    segment = list_segments(tmp_path)[0][1]
    data = bytearray(segment.read_bytes())
    end = again.offset + again.size
    data[end + 10:end + 14] = b"torn"
    segment.write_bytes(data)
    assert recover(tmp_path).repairs == (again, Repair(1, end, 14, True))
    reopen(tmp_path)
    assert recover(tmp_path).repairs == (again,)


def test_a_seal_is_written_again_when_nothing_follows_it(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 0, group(i, 1, size=2500)) for i in (1, 2)])
    second = list_segments(tmp_path)[1][1]
    second.write_bytes(second.read_bytes()[:64] + bytes(SEGMENT - 64))
    list_segments(tmp_path)[2][1].unlink()
    seal = frames(tmp_path)[-1]
    assert seal.seal
    assert recover(tmp_path).repairs == (Repair(1, seal.offset, 56, False),)
    assert reopen(tmp_path)[0].last_index == 1
