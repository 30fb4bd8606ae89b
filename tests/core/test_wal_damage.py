"""A damaged log: a torn end is cut, everything else is refused by name and offset."""
from __future__ import annotations

from pathlib import Path

import pytest

from seatrial.core.errors import CorruptSegment, MissingSegment
from seatrial.core.recovery import list_segments, recover

from .wal_tools import SEGMENT, frames, group, record, reopen, write_groups


def padded(n: int) -> int:
    return (n + 7) & ~7


def test_a_write_torn_at_any_byte_is_cut_and_the_log_goes_on(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 1, group(1, 2)), (2, 1, group(3, 2, term=2))])
    segment = list_segments(tmp_path)[0][1]
    whole = segment.read_bytes()
    last = frames(tmp_path)[-1]
    end = last.offset + padded(40 + len(last.records))
    for cut in range(last.offset, end):
        segment.write_bytes(whole[:cut].ljust(SEGMENT, b"\0"))
        found, _ = reopen(tmp_path)
        if whole[cut:end].strip(b"\0"):     # a cut within the zeros at the end changes nothing
            assert (found.term, found.records) == (1, group(1, 2)), cut
        else:
            assert (found.term, found.records) == (2, group(1, 2) + group(3, 2, term=2)), cut
        assert segment.read_bytes()[found.end_offset:].strip(b"\0") == b""
    segment.write_bytes(whole[:end - 20].ljust(SEGMENT, b"\0"))
    write_groups(tmp_path, [(3, 1, group(3, 1, term=3))])
    assert recover(tmp_path).records == group(1, 2) + group(3, 1, term=3)


def test_a_write_whose_first_page_never_arrived_is_cut(tmp_path: Path) -> None:
    """Pages of one write reach the disk in any order."""
    write_groups(tmp_path, [(1, 1, group(1, 1)), (1, 1, group(2, 1, size=1500))])
    segment = list_segments(tmp_path)[0][1]
    data = bytearray(segment.read_bytes())
    at = frames(tmp_path)[-1].offset
    data[at:at + 512] = bytes(512)
    data[at + 1000:at + 1004] = b"late"
    segment.write_bytes(data)
    found, repairs = reopen(tmp_path)
    assert found.records == group(1, 1)
    assert repairs == [f"cut 1004 bytes of an unfinished write from {segment} at offset {at}"]
    assert segment.read_bytes()[at:].strip(b"\0") == b""


def test_a_bit_flipped_anywhere_before_the_last_frame_is_refused(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 1, group(1, 2)), (1, 1, group(3, 1)), (1, 1, b"")])
    segment = list_segments(tmp_path)[0][1]
    whole = segment.read_bytes()
    last = frames(tmp_path)[-1].offset
    padding = {
        at for frame in frames(tmp_path)[:-1]
        for at in range(frame.offset + 40 + len(frame.records),
                        frame.offset + padded(40 + len(frame.records)))
    }
    for at in range(last):
        if at in padding:                   # nothing is kept there
            continue
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        segment.write_bytes(damaged)
        with pytest.raises(CorruptSegment) as refusal:
            recover(tmp_path)
        assert refusal.value.path == segment
        assert refusal.value.offset <= at
        assert str(segment) in str(refusal.value)


def test_refusing_a_corrupt_log_changes_nothing_in_it(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 1, group(1, 2)), (1, 1, group(3, 1))])
    segment = list_segments(tmp_path)[0][1]
    data = bytearray(segment.read_bytes())
    data[150] ^= 4
    segment.write_bytes(data)
    with pytest.raises(CorruptSegment):
        reopen(tmp_path)
    assert segment.read_bytes() == data


def test_a_lost_write_between_good_ones_is_refused(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 1, group(i, 1)) for i in (1, 2, 3)])
    segment = list_segments(tmp_path)[0][1]
    data = bytearray(segment.read_bytes())
    lost, after = frames(tmp_path)[1:]
    data[lost.offset:after.offset] = bytes(after.offset - lost.offset)
    segment.write_bytes(data)
    with pytest.raises(CorruptSegment, match=rf"at offset {lost.offset}: no frame, but a valid"):
        recover(tmp_path)


def test_damage_to_the_end_of_a_segment_that_is_not_the_last_is_refused(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 0, group(i, 1, size=2500)) for i in range(1, 4)])
    first = list_segments(tmp_path)[0][1]
    whole = first.read_bytes()
    record_frame, seal = frames(tmp_path)[:2]
    assert seal.seal
    for frame, why in ((record_frame, "a valid one follows"), (seal, "the log goes on in")):
        damaged = bytearray(whole)
        damaged[frame.offset + 20] ^= 1
        first.write_bytes(damaged)
        with pytest.raises(CorruptSegment, match=why) as refusal:
            recover(tmp_path)
        assert (refusal.value.path, refusal.value.offset) == (first, frame.offset)
    first.write_bytes(whole[:64] + bytes(SEGMENT - 64))
    with pytest.raises(CorruptSegment, match="no frame, but the log goes on in segment 2"):
        recover(tmp_path)


def test_a_torn_seal_is_cut_and_the_segment_made_ahead_is_kept(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 0, group(1, 1, size=2500)), (1, 0, group(2, 1, size=2500))])
    first, second = (path for _, path in list_segments(tmp_path)[:2])
    for _, path in list_segments(tmp_path)[2:]:
        path.unlink()
    second.write_bytes(second.read_bytes()[:64] + bytes(SEGMENT - 64))
    seal = next(frame for frame in frames(tmp_path) if frame.seal)
    first.write_bytes(first.read_bytes()[:seal.offset + 30].ljust(SEGMENT, b"\0"))
    found, repairs = reopen(tmp_path)
    assert found.last_index == 1
    assert (found.end_sequence, found.prepared) == (1, 2)
    assert len(repairs) == 1


@pytest.mark.parametrize(("size", "message"), [
    (SEGMENT // 2, "the file has 2048 bytes, its header says 4096"),
    (SEGMENT + 1, "the file has 4097 bytes, its header says 4096"),
    (10, "a segment header has 64 bytes, here are 10"),
])
def test_a_segment_of_the_wrong_size_is_refused(
    tmp_path: Path, size: int, message: str
) -> None:
    write_groups(tmp_path, [(1, 0, group(1, 1))])
    segment = list_segments(tmp_path)[0][1]
    segment.write_bytes(segment.read_bytes()[:size].ljust(size, b"\0"))
    with pytest.raises(CorruptSegment, match=message):
        recover(tmp_path)


def test_segments_that_changed_places_are_refused(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 0, group(i, 1, size=2500)) for i in range(1, 4)])
    first, second = (path for _, path in list_segments(tmp_path)[:2])
    first.rename(tmp_path / "kept")
    second.rename(first)
    (tmp_path / "kept").rename(second)
    with pytest.raises(CorruptSegment, match="its header says it is segment 2"):
        recover(tmp_path)


@pytest.mark.parametrize(("groups", "message"), [
    ([(1, 0, group(1, 1)), (1, 0, record(3))], "index 3 comes after index 1"),
    ([(1, 0, record(2))], "the log begins with index 2, expected 1"),
    ([(1, 0, group(1, 1)), (1, 0, record(0))], "index 0 comes after index 1"),
    ([(3, 0, b""), (2, 0, b"")], "term goes back from 3 to 2"),
    ([(3, 0, record(1, 4))], "record of term 4 in a frame of term 3"),
])
def test_a_log_that_no_node_writes_is_refused(
    tmp_path: Path, groups: list[tuple[int, int, bytes]], message: str
) -> None:
    write_groups(tmp_path, groups)
    with pytest.raises(CorruptSegment, match=message):
        recover(tmp_path)


def test_more_segments_than_the_one_made_ahead_are_refused(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 0, group(i, 1, size=2500)) for i in range(1, 4)])
    for _, path in list_segments(tmp_path):
        path.write_bytes(path.read_bytes()[:64] + bytes(SEGMENT - 64))
    with pytest.raises(CorruptSegment, match="no frame, but the log goes on in segment 3"):
        recover(tmp_path)


def test_a_log_without_its_first_segment_is_refused(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 0, group(i, 1, size=2500)) for i in range(1, 3)])
    list_segments(tmp_path)[0][1].unlink()
    with pytest.raises(MissingSegment, match=r"0000000000000001.wal is missing"):
        recover(tmp_path)
