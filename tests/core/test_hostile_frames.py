"""Bytes that no honest node would send: refused by name, never a crash, a hang or a surprise.

Whoever holds a key can send any frame with a sound check, and a broken network can send
anything else. The machine may answer with ProtocolError (the shell closes that connection) or,
where the frame claims what cannot be, with InvariantViolation (the node stops). Built with
SEATRIAL_SANITIZE=1 the same tests look for reads beyond the bytes.
"""
from __future__ import annotations

import os

import pytest

from seatrial.core import codec
from seatrial.core.crc import crc32c
from seatrial.core.errors import InvariantViolation, ProtocolError
from seatrial.core.replica import Replica
from seatrial.harness.rng import Rng

MS = 1_000_000
ROUNDS = int(os.environ.get("SEATRIAL_HOSTILE_ROUNDS", "150"))
TYPES = sorted(codec.MESSAGE_TYPES)
APPEND = {name: number for number, name in codec.MESSAGE_TYPES.items()}["append"]
EDGES = (0, 1, 2, 3, 7, 63, 64, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32,
         (1 << 63) - 1, 1 << 63, (1 << 64) - 2, (1 << 64) - 1)


def number(rng: Rng, bits: int = 64) -> int:
    """Mostly small, sometimes at an edge, sometimes anything."""
    draw = rng.below(10)
    value = rng.below(6) if draw < 7 else rng.choice(EDGES) if draw < 9 else rng.next64()
    return value & ((1 << bits) - 1)


def noise(rng: Rng, limit: int) -> bytes:
    return b"".join(rng.next64().to_bytes(8, "little") for _ in range(limit // 8 + 1))[
        :rng.below(limit + 1)]


def command(rng: Rng) -> bytes:
    """A command whose lengths may lie, or a piece of one."""
    body = noise(rng, 24)
    head = bytes([rng.choice((1, 2, 3, 4, 5, 16, 99)), rng.below(4)])
    for size in (2, 4, 4):
        honest = len(body) if size == 2 and rng.below(2) else number(rng, 8 * size)
        head += honest.to_bytes(size, "little")
    whole = head + bytes(4) + body
    return whole if rng.below(3) else whole[:rng.below(len(whole) + 1)]


def records(rng: Rng) -> bytes:
    first, term = 1 + rng.below(5), rng.below(4)
    out = b""
    for i in range(rng.below(4)):
        odd = rng.below(12) == 0
        out += codec.encode_record(
            number(rng) if odd else first + i, number(rng) if odd else term + i // 2,
            number(rng, 8) if rng.below(3) == 0 else 1, command(rng), client=rng.below(3),
            sequence=number(rng), rindex=number(rng), epoch=number(rng), rterm=number(rng))
    return out


def members_frame(rng: Rng) -> bytes:
    kind = rng.choice(TYPES) if rng.below(20) else number(rng, 8)
    return codec.encode_message(
        kind, 2 if rng.below(20) else number(rng, 32), 1 if rng.below(20) else number(rng, 32),
        number(rng), index=number(rng), log_term=number(rng), commit=number(rng),
        round=number(rng), flags=number(rng, 8),
        records=records(rng) if kind == APPEND or rng.below(9) == 0 else b"")


def clients_frame(rng: Rng) -> bytes:
    op = rng.choice(sorted(codec.OPS.values())) if rng.below(9) else number(rng, 8)
    return codec.encode_request(number(rng), rng.below(3), number(rng), op, noise(rng, 9),
                                noise(rng, 40), noise(rng, 9) if rng.below(2) else None)


def mutated(rng: Rng, frame: bytes) -> bytes:
    """Alter some bytes of a frame, cut or extend it; half of the time with a sound check."""
    data = bytearray(frame)
    for _ in range(1 + rng.below(3)):
        data[rng.below(len(data))] = number(rng, 8)
    if rng.below(3) == 0:
        del data[16 + rng.below(len(data) - 15):]
    elif rng.below(3) == 0:
        data += noise(rng, 80)
    if rng.below(4):
        data[:4] = len(data).to_bytes(4, "little")
        data[10:12] = (~(len(data) ^ len(data) >> 16) & 0xFFFF).to_bytes(2, "little")
    if rng.below(2):
        data[4:8] = crc32c(bytes(data[8:])).to_bytes(4, "little")
    return bytes(data)


def machine(rng: Rng) -> Replica:
    """A node with a little log, as follower, candidate or leader."""
    log = b"".join(codec.encode_record(i, 1, 0, rindex=i, epoch=1 << 16, rterm=1)
                   for i in range(1, 1 + rng.below(4)))
    replica = Replica(1, [1, 2, 3], seed=rng.next64(), now_ns=0, heartbeat_ns=10 * MS,
                      election_ns=100 * MS, max_batch_bytes=300, max_inflight_bytes=900)
    replica.restore(1, 0, log)
    for peer in (2, 3):
        replica.peer_up(peer, 0)
    replica.client_up(1)
    role = rng.below(3)
    if role:
        replica.tick(replica.deadline_ns())
        turn(replica, replica.deadline_ns())
    if role == 2:
        replica.receive_peer(2, codec.encode_message(2, 2, 1, replica.raft.term, flags=1), 0)
    return replica


def turn(replica: Replica, now: int) -> None:
    """One iteration of the shell's loop with a disk that is immediate."""
    replica.poll(now)
    write = replica.take_persist()
    if write is not None:
        replica.persisted(write[0], now)
    replica.poll(now)
    for kind, _, data in replica.take_output():
        for frame in codec.split_frames(bytearray(data)):
            if kind == 0:
                codec.decode_message(frame)
            else:
                codec.decode_response(frame)
    replica.take_admin()
    replica.status()


@pytest.mark.randomised
@pytest.mark.parametrize("seed", range(10))
def test_whatever_arrives_is_refused_by_name_or_understood(seed: int) -> None:
    rng = Rng(seed)
    refused = understood = 0
    for _ in range(ROUNDS):
        replica = machine(rng)
        now = replica.deadline_ns() - 1
        try:
            for _ in range(20):
                from_member = rng.below(2) == 0
                frame = members_frame(rng) if from_member else clients_frame(rng)
                if rng.below(3) == 0:
                    frame = mutated(rng, frame)
                try:
                    if from_member:
                        replica.receive_peer(2, frame, now)
                    else:
                        replica.receive_client(1, frame, now)
                    understood += 1
                except ProtocolError:
                    refused += 1
                    replica.peer_reset(2)
                    replica.client_down(1)
                    replica.client_up(1)
                turn(replica, now)
        except InvariantViolation:
            refused += 1            # the node would stop: nothing goes on after it
    assert refused > ROUNDS
    assert understood > ROUNDS


@pytest.mark.parametrize("bit", range(32))
def test_a_length_with_a_flipped_bit_is_refused_before_so_much_was_waited_for(bit: int) -> None:
    """Found by simulation: a link that went deaf for good cost a cluster its last majority."""
    frame = bytearray(codec.encode_message(5, 2, 1, 1))
    frame[bit // 8] ^= 1 << bit % 8
    replica = Replica(1, [1, 2, 3], seed=1, now_ns=0, heartbeat_ns=10 * MS, election_ns=100 * MS)
    with pytest.raises(ProtocolError, match="length: check failed"):
        replica.receive_peer(2, bytes(frame[:16]), 0)


@pytest.mark.randomised
@pytest.mark.parametrize("seed", range(4))
def test_the_decoders_of_tools_and_clients_refuse_what_is_not_sound(seed: int) -> None:
    rng = Rng(seed)
    refused = 0
    for _ in range(20 * ROUNDS):
        sound = rng.choice((
            clients_frame(rng), members_frame(rng),
            codec.encode_response(number(rng), rng.below(9), noise(rng, 30))))
        frame = mutated(rng, sound) if rng.below(3) else noise(rng, 90)
        for decode in (codec.decode_request, codec.decode_response, codec.decode_message,
                       codec.frame_type, codec.describe_record, codec.split_records,
                       lambda data: codec.split_frames(bytearray(data))):
            try:
                decode(frame)
            except ProtocolError:
                refused += 1
    assert refused > ROUNDS
