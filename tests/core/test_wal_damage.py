"""A damaged log: a torn end is cut; what else is lost is told, or the log is refused by name."""
from __future__ import annotations

from pathlib import Path

import pytest

from seatrial.core.codec import split_records
from seatrial.core.crc import crc32c
from seatrial.core.errors import CorruptSegment, MissingSegment, UnknownFormat
from seatrial.core.recovery import list_segments, recover
from seatrial.core.wal import Wal

from .wal_tools import SEGMENT, Ends, frames, group, record, reopen, write_groups


def padded(n: int) -> int:
    return (n + 7) & ~7


def test_a_write_torn_at_any_byte_is_cut_and_the_log_goes_on(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 1, group(1, 2)), (2, 1, group(3, 2, term=2))])
    segment = list_segments(tmp_path)[0][1]
    whole = segment.read_bytes()
    last = frames(tmp_path)[-1]
    end = last.offset + padded(56 + len(last.records))
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


def test_a_bit_flipped_anywhere_before_the_last_frame_is_told(tmp_path: Path) -> None:
    """And by whoever would open the log as a whole one, refused."""
    write_groups(tmp_path, [(1, 1, group(1, 2)), (1, 1, group(3, 1)), (1, 1, b"")])
    segment = list_segments(tmp_path)[0][1]
    whole = segment.read_bytes()
    _, second, last = (frame.offset for frame in frames(tmp_path))
    padding = {
        at for frame in frames(tmp_path)[:-1]
        for at in range(frame.offset + 56 + len(frame.records),
                        frame.offset + padded(56 + len(frame.records)))
    }
    for at in range(last):
        if at in padding:                   # nothing is kept there
            continue
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        segment.write_bytes(damaged)
        with pytest.raises(CorruptSegment) as refusal:
            reopen(tmp_path)
        assert refusal.value.path == segment
        assert refusal.value.offset <= at
        assert str(segment) in str(refusal.value)
        if at >= 64:
            found = recover(tmp_path)
            assert (found.damaged_until, found.damaged_term) == (3, 1)
            assert found.records == (b"" if at < second else group(1, 2))
            assert (found.term, found.vote) == (1, 1)


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
        reopen(tmp_path)
    found = recover(tmp_path)
    assert (found.records, found.damaged_until) == (group(1, 1), 3)


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
        found = recover(tmp_path)
        assert [(d.path, d.offset) for d in found.damage] == [(first, frame.offset)]
        assert why in found.damage[0].what
        assert found.damaged_until == (0 if frame is seal else 3)
        assert found.last_index == (3 if frame is seal else 0)      # a seal holds nothing
    first.write_bytes(whole[:64] + bytes(SEGMENT - 64))
    with pytest.raises(CorruptSegment, match="no frame, but the log goes on in segment 2"):
        reopen(tmp_path)


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
    ([(1, 0, 0, 0, group(1, 1)), (1, 0, 2, 1, record(3))],
     "goes on after entry 2 of term 1, but the log ends with entry 1 of term 1"),
    ([(1, 0, 1, 1, record(2))],
     "goes on after entry 1 of term 1, but the log ends with entry 0 of term 0"),
    ([(2, 0, 0, 0, group(1, 2)), (2, 0, 1, 2, record(2, 2))], "goes on after entry 1 of term 2"),
    ([(1, 0, 0, 0, record(1) + record(3))], "index 3 comes after index 1"),
    ([(3, 0, 0, 0, b""), (2, 0, 0, 0, b"")], "term goes back from 3 to 2"),
    ([(3, 0, 0, 0, record(1, 4))], "record of term 4 after one of term 0, in a frame of term 3"),
    ([(3, 0, 0, 0, record(1, 3) + record(2, 2))], "record of term 2 after one of term 3"),
])
def test_a_log_that_no_node_writes_is_refused(
    tmp_path: Path, groups: list[tuple[int, int, int, int, bytes]], message: str
) -> None:
    wal = Wal.open(tmp_path, segment_bytes=SEGMENT)
    for seq, (term, vote, base, base_term, records) in enumerate(groups, 1):
        wal.submit(seq, term, vote, len(split_records(records)), records, base, base_term,
                   inline=True)
    wal.close()
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


def test_a_segment_of_another_version_is_refused_by_name_and_version(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 0, group(1, 1))])
    segment = list_segments(tmp_path)[0][1]
    data = bytearray(segment.read_bytes())
    data[4] = 1
    data[60:64] = crc32c(bytes(data[:60])).to_bytes(4, "little")
    segment.write_bytes(data)
    with pytest.raises(UnknownFormat, match=rf"{segment}: format version 1, this build reads 2"):
        reopen(tmp_path)


# ---- read on behind what is lost -----------------------------------------------------------------


def lose(directory: Path, *numbers: int) -> None:
    """Make these frames of the log unreadable."""
    found = frames(directory)
    for number in numbers:
        frame = found[number]
        data = bytearray(frame.path.read_bytes())
        data[frame.offset + 16] ^= 1
        frame.path.write_bytes(data)


def write_damaged(directory: Path, groups: list[tuple[int, int, bytes]]) -> None:
    """Write to a log that lost something, as a node does whose log is being repaired."""
    wal = Wal.open(directory, segment_bytes=SEGMENT, damaged=True)
    ends = Ends(wal.recovered)
    for seq, (term, vote, records) in enumerate(groups, 1):
        wal.submit(seq, term, vote, len(split_records(records)), records, *ends.note(records))
        wal.finish()
    wal.close()


def test_entries_behind_a_gap_are_not_joined_to_those_before_it(tmp_path: Path) -> None:
    """What is lost replaced entries: without it the log would be one that never was."""
    write_groups(tmp_path, [(1, 0, group(1, 5)), (2, 0, group(3, 2, term=2)),
                            (2, 0, group(5, 2, term=2))])
    lose(tmp_path, 1)
    found = recover(tmp_path)
    assert found.records == group(1, 3)             # those of term 1, up to what is known to differ
    assert (found.damaged_until, found.damaged_term) == (6, 2)


def test_what_was_lost_and_written_again_is_whole(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 0, group(1, 2)), (1, 0, group(3, 2)), (1, 0, group(5, 1))])
    lose(tmp_path, 1)
    write_damaged(tmp_path, [(2, 0, b""), (2, 0, group(3, 1))])
    found = recover(tmp_path)
    assert (found.records, found.damaged_until, found.damaged_term) == (group(1, 3), 5, 2)
    write_damaged(tmp_path, [(2, 0, group(4, 1) + group(5, 1, term=2))])
    found, repairs = reopen(tmp_path)
    assert (found.records, found.damaged_until) == (group(1, 4) + group(5, 1, term=2), 0)
    assert [line.split(":")[0] for line in repairs] == [
        f"left {tmp_path}/0000000000000001.wal as it is at offset {found.damage[0].offset}"]


def test_a_lost_frame_that_was_void_already_harms_nothing(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 0, group(1, 2)), (1, 0, group(3, 2)), (1, 2, b""),
                            (2, 0, group(3, 1, term=2)), (2, 1, b"")])
    lose(tmp_path, 1, 2)
    found, _ = reopen(tmp_path)
    assert (found.records, found.damaged_until) == (group(1, 2) + group(3, 1, term=2), 0)
    assert (found.term, found.vote) == (2, 1)


def test_entries_that_only_the_frame_after_them_tells_of_are_missed(tmp_path: Path) -> None:
    """The newest entries are lost; a vote that was written later knows of them."""
    write_groups(tmp_path, [(1, 0, group(1, 2)), (1, 0, group(3, 2)), (2, 3, b"")])
    lose(tmp_path, 1)
    found = recover(tmp_path)
    assert (found.term, found.vote, found.records, found.damaged_until) == (2, 3, group(1, 2), 4)


def test_what_a_damaged_log_goes_on_with_does_not_make_it_whole(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 0, group(1, 2)), (1, 0, group(3, 4)), (1, 0, b"")])
    lose(tmp_path, 1)
    for term in (2, 3, 4):
        write_damaged(tmp_path, [(term, 0, b"")])
        assert recover(tmp_path).damaged_until == 6
    write_damaged(tmp_path, [(4, 0, group(3, 4, term=4))])
    assert recover(tmp_path).damaged_until == 0


def test_whole_segments_that_are_lost_are_told(tmp_path: Path) -> None:
    write_groups(tmp_path, [(1, 0, group(i, 1, size=2500)) for i in range(1, 6)])
    for _, path in list_segments(tmp_path)[1:3]:
        path.write_bytes(path.read_bytes()[:64] + bytes(SEGMENT - 64))
    found = recover(tmp_path)
    assert (found.records, found.damaged_until) == (group(1, 1, size=2500), 5)
    assert [damage.path.name for damage in found.damage] == ["0000000000000002.wal"]
