"""CRC32C against published values, in pieces, and both engines against each other."""
from __future__ import annotations

import pytest

from seatrial.core.crc import crc32c, crc32c_by_table

# RFC 3720 B.4 and the check value of the CRC catalogue.
PUBLISHED = [
    (b"", 0),
    (b"123456789", 0xE3069283),
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
]


@pytest.mark.parametrize(("data", "expected"), PUBLISHED)
def test_published_values_come_out_of_both_engines(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected
    assert crc32c_by_table(data) == expected


def test_a_sum_in_two_pieces_is_the_sum_of_the_whole_at_every_split() -> None:
    data = bytes((i * 37 + 11) & 0xFF for i in range(67))
    whole = crc32c(data)
    for cut in range(len(data) + 1):
        assert crc32c(data[cut:], crc32c(data[:cut])) == whole
        assert crc32c_by_table(data[cut:], crc32c_by_table(data[:cut])) == whole


def test_both_engines_agree_at_every_length_and_alignment() -> None:
    data = memoryview(bytes((i * i * 31 + 7) & 0xFF for i in range(100)))
    for start in range(9):
        for end in range(start, len(data) + 1):
            assert crc32c(data[start:end]) == crc32c_by_table(data[start:end])


def test_every_flipped_bit_changes_the_sum() -> None:
    data = bytearray(b"the record of a write, as it travels")
    whole = crc32c(data)
    for bit in range(len(data) * 8):
        data[bit // 8] ^= 1 << bit % 8
        assert crc32c(data) != whole
        data[bit // 8] ^= 1 << bit % 8
