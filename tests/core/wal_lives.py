"""Many lives of one log on a simulated disk, each ended by a crash, and a judgement of it.

A model in memory says what the log must hold: hard state, entries, the newest complete snapshot,
and what there is of the next one. After each crash the real recovery must return that: with the
write in flight or without it, with nothing else missing and nothing else in it; and what it
returned must still be there after the next power loss. At last a bit is flipped: what that took
must be told, and when it was written anew the log must be whole. Then it lives on, damage and
all, until two more bits are flipped.

    python -m tests.core.wal_lives [--mutant NAME] SEED...     prints a judgement for each seed
"""
from __future__ import annotations

import argparse
from typing import NamedTuple

from seatrial.core.codec import describe_record, encode_record, split_records
from seatrial.core.crc import crc32c
from seatrial.core.errors import InvariantViolation, WalError
from seatrial.core.mutants import activate
from seatrial.core.recovery import Recovered, Snapshot
from seatrial.harness.rng import Rng
from seatrial.harness.sim.disk import Disk

SEGMENT = 4096
GROUPS = 150
SIZES = (0, 1, 7, 50, 200, 700)
CHUNK_SIZES = (1, 100, 300, 600)
SNAPSHOT = 5                # Record.kind
LAST = 1                    # Record.flags of a chunk


def record(index: int, term: int = 1, size: int = 0) -> bytes:
    """Return a record that can be told from others with its index."""
    return encode_record(index, term, 0, b"%d/%d" % (index, term) + b"x" * size)


def stream(index: int, term: int) -> bytes:
    """Return the bytes of the snapshot at an entry: the same whoever makes it."""
    rng = Rng(index << 32 | term)
    return b"snapshot at %d of term %d: " % (index, term) + b"".join(
        rng.next64().to_bytes(8, "little") for _ in range(rng.below(200)))


def chunk(index: int, term: int, offset: int, size: int) -> bytes:
    """Return ``size`` bytes of that snapshot from ``offset`` on, as the log holds them."""
    data = stream(index, term)
    end = min(len(data), offset + size)
    made = bytearray(encode_record(
        index, term, SNAPSHOT, data[offset:end], sequence=offset, client=crc32c(data[:end])))
    made[65] = LAST if end == len(data) else 0
    made[4:8] = crc32c(bytes(made[24:])).to_bytes(4, "little")
    return bytes(made)


class State(NamedTuple):
    """What a log holds. Entries from ``floor`` + 1 on; the one at ``floor`` is of ``base_term``."""

    term: int
    vote: int
    floor: int
    base_term: int
    records: tuple[bytes, ...]
    snapshot: Snapshot | None
    partial: Snapshot | None
    first: int              # entries below it may be gone
    kept: int = 0           # a seal, or a frame without entries, took back those above it; or 0
    healed: bool = False    # entries that its snapshot holds may be gone, or there all the same

    @property
    def last(self) -> int:
        """Index of the last entry."""
        return self.floor + len(self.records)

    def term_at(self, index: int) -> int:
        """Return the term of an entry, or of the one before the first."""
        if index == self.floor:
            return self.base_term
        return int.from_bytes(self.records[index - self.floor - 1][16:24], "little")

    def holds(self, index: int, term: int) -> bool:
        """Whether the log has this entry."""
        return self.floor <= index <= self.last and self.term_at(index) == term

    def contradicts(self, snapshot: Snapshot) -> bool:
        """Whether the log has another entry where the snapshot ends. (What its leader held when it
        was begun, no later leader writes otherwise: leader completeness.)"""
        return snapshot.last_index <= self.last and not self.holds(*snapshot[:2])

    def after(self, group: Group) -> State:
        """Return the state after a group write: each record voids those from its index on."""
        state = self.sealed(group)._replace(first=group.first)
        if group.chunk:
            state = state.with_chunk(group.chunk)
        if group.records:
            kept = state.records[:group.base - state.floor]
            state = state._replace(records=(*kept, *split_records(group.records)), kept=0)
        return state

    def sealed(self, group: Group) -> State:
        """Return the state after a seal that a group write begins with: it has the hard state,
        and takes back what the group would."""
        return self._replace(term=group.term, vote=group.vote,
                             kept=min(group.base, self.kept or self.last))

    def with_chunk(self, made: bytes) -> State:
        """Return the state after a chunk, which may be the last of its snapshot."""
        fields = describe_record(made)
        index, term = fields["index"], fields["term"]
        before = self.partial.records if fields["sequence"] and self.partial else b""
        grown = Snapshot(index, term, before + made)
        if not made[65] & LAST:
            return self._replace(partial=grown)
        state = self._replace(partial=None, snapshot=grown)
        if state.holds(index, term):
            return state
        return state._replace(floor=index, base_term=term, records=(), kept=0)

    def is_in(self, found: Recovered) -> bool:
        """Whether recovery found this: entries that may be gone may be there all the same."""
        needed = self.snapshot.last_index + 1 if self.snapshot else 1
        if not self.healed:
            needed = min(self.first, needed)
        floor = found.first_index - 1
        if (found.damaged_until or floor > max(needed - 1, self.floor)
                or (found.term, found.vote, found.last_index, found.snapshot, found.partial)
                != (self.term, self.vote, self.last, self.snapshot, self.partial)):
            return False
        if floor < self.floor:
            return self.healed and found.records.endswith(b"".join(self.records))
        return (found.base_term == self.term_at(floor)
                and found.records == b"".join(self.records[floor - self.floor:]))


class Group(NamedTuple):
    """One group write."""

    term: int
    vote: int
    entries: int
    records: bytes
    base: int
    base_term: int
    chunk: bytes
    first: int


EMPTY = State(0, 0, 0, 0, (), None, None, 1)


def draw_group(rng: Rng, state: State) -> Group:
    """Draw what a node might write next: a new term may take back some of the last records that
    no snapshot holds; a chunk of its own snapshot, or of one that its leader sends."""
    term, last, voids = max(state.term, 1), state.last, False
    part = draw_chunk(rng, state) if rng.below(3) == 0 else b""
    held = max(state.snapshot.last_index if state.snapshot else 0,
               state.partial.last_index if state.partial else 0, state.floor,
               int.from_bytes(part[8:16], "little"))
    if rng.below(5) == 0:
        term += 1 + rng.below(3)
        last -= rng.below(max(0, min(last - held, 4)) + 1)
    if part:
        after = state.with_chunk(part)
        voids = after.floor != state.floor  # the log goes on behind what it was sent
        if voids and state.last >= after.floor:
            term = max(term, state.term + 1)    # from the leader of a term that never had this log
        term = max(term, int.from_bytes(part[16:24], "little"))
    first = state.first
    if state.snapshot and rng.below(4) == 0:
        first = max(first, state.snapshot.last_index + 1 - rng.below(6))
    size, count = rng.choice(SIZES), rng.below(4)
    if voids and count:     # such a chunk alone goes on with the log before it
        state, last = after, after.last
    return Group(term, rng.below(4), count, b"".join(
        record(last + i, term, size) for i in range(1, count + 1)),
        last, state.term_at(last), part, first)


def draw_chunk(rng: Rng, state: State) -> bytes:
    """Draw the next chunk of the snapshot that is incomplete, or the first of a new one."""
    size = rng.choice(CHUNK_SIZES)
    if state.partial and not (state.healed and state.contradicts(state.partial)) and rng.below(20):
        done = sum(len(part) - 72 for part in split_records(state.partial.records))
        return chunk(state.partial.last_index, state.partial.last_term, done, size)
    least = max(state.snapshot.last_index + 1 if state.snapshot else 1, state.floor)
    if rng.below(8) == 0:                   # a follower that is far behind is sent one
        return chunk(state.last + 1 + rng.below(30), max(state.term, 1), 0, size)
    if least > state.last:
        return b""
    index = least + rng.below(state.last - least + 1)
    return chunk(index, state.term_at(index), 0, size)


class Lives:
    """A log's lives so far."""

    def __init__(self, seed: int) -> None:
        self.rng = Rng(seed)
        self.disk = Disk(seed, 0, sync_ns=100, sync_jitter_ns=50, sync_tail_ppm=0,
                         sync_tail_ns=0, segment_bytes=SEGMENT)
        self.state = EMPTY
        self.seq = self.crashes = self.kept = 0
        self.known: set[tuple[int, int, bytes]] = set()     # index, term before, record
        self.complete: list[Snapshot] = []
        self.most = 0                                       # the largest index of all

    def write(self, group: Group) -> None:
        """Submit a group write; whether it gets durable is another matter."""
        self.seq += 1
        self.most = max(self.most, group.base + group.entries,
                        int.from_bytes(group.chunk[8:16], "little"))
        self.disk.submit(
            self.seq, group.term, group.vote, group.entries, group.records, len(group.records),
            group.base, group.base_term, group.chunk, len(group.chunk), group.first,
            self.seq * 1000)

    def note(self, state: State) -> None:
        """This is the state now."""
        self.state = state
        self.known |= {(index, state.term_at(index - 1), state.records[index - state.floor - 1])
                       for index in range(max(state.floor + 1, state.last - 5), state.last + 1)}
        if state.snapshot and state.snapshot not in self.complete[-1:]:
            self.complete.append(state.snapshot)

    def crash(self, group: Group) -> str:
        """Kill the process, take the power, or both; return what is wrong then, if anything."""
        how = self.rng.below(3)
        self.crashes += 1
        if how != 1:
            self.disk.killed(self.rng.next64())
        if how == 0:
            return self.start(group)
        self.disk.power_lost(self.rng.next64())
        left = self.durable()
        return self.start(group) or (
            "" if self.durable() == left else f"the disk said {left}, found {self.durable()}")

    def start(self, group: Group) -> str:
        """Recover after a crash with ``group`` in flight; return what is wrong, if anything."""
        found = self.disk.recover()
        # A seal may be there without the frame after it.
        allowed = (self.state.after(group), self.state, self.state.sealed(group))
        state = next((state for state in allowed if state.is_in(found)), None)
        if state is None:
            lost = b"".join(self.state.records).startswith(found.records) and (
                found.snapshot in (None, *self.complete))
            return "lost what was promised" if lost else "not what was written"
        self.kept += state == allowed[0]
        self.note(state)
        if self.rng.below(3) == 0:
            self.disk.power_lost(self.rng.next64())
            if not state.is_in(self.disk.recover()):
                return "lost what was read"
        if state.healed:        # the disk's own account does not see through damage
            return ""
        terms = [state.term_at(i) for i in range(found.first_index, state.last + 1)]
        durable = self.durable()[found.first_index - 1:]
        return "" if durable == terms else f"the disk says {durable}, not {terms}"

    def durable(self) -> list[int]:
        """Return the terms of the records that the disk says are durable, before any damage."""
        if self.state.healed:
            return []
        return [self.disk.durable_term(i) for i in range(1, self.disk.durable_last() + 1)]

    def stray(self) -> str:
        """Write a chunk that goes on with nothing: a message that came late, or twice."""
        index, term = 10**6, self.state.term
        at = 10
        if self.state.partial:
            index, term = self.state.partial[:2]
            at = 1 + sum(len(part) - 72 for part in split_records(self.state.partial.records))
        made = chunk(index, term, at, 5)
        try:
            self.write(Group(self.state.term, self.state.vote, 0, b"", self.state.last,
                             self.state.term_at(self.state.last), made, self.state.first))
        except InvariantViolation:
            self.seq -= 1
            return ""
        return "a chunk was taken that goes on with nothing"

    def flip(self) -> str:
        """Flip a bit: nothing may be missing without being told, nothing else be there."""
        self.disk.power_lost(0)
        if self.disk.flip(self.rng.next64()) is None:
            return ""
        if self.state.healed:
            self.disk.flip(self.rng.next64())
        try:
            found = self.disk.recover(damaged=True)
        except WalError:
            return ""
        if not found.damage:
            return "a flipped bit was not told"
        if not found.damaged_until:
            return "" if self.is_whole(found) else "what a flipped bit took was not told"
        if not 0 < found.damaged_until <= self.most:
            return "more is missed than there ever was"
        return self.written_anew(found)

    def is_whole(self, found: Recovered) -> bool:
        """Whether a log is good that has all, or an older snapshot and the entries after it."""
        index = found.snapshot.last_index if found.snapshot else 0
        last = found.last_index     # what a later frame takes back need not be missed
        return (last <= self.state.last and last >= (self.state.kept or self.state.last)
                and found.first_index <= index + 1
                and (found.snapshot is None or found.snapshot in self.complete)
                and (found.term, found.vote) == (self.state.term, self.state.vote)
                and b"".join(self.state.records[:last - self.state.floor]).endswith(
                    found.records[-1000:]))

    def written_anew(self, found: Recovered) -> str:
        """A leader writes what is lost anew, in a later term; then the log must be whole."""
        term, last = found.base_term, found.first_index - 1
        for entry in split_records(found.records):
            last += 1
            if last > self.state.last - 5 and (last, term, entry) not in self.known:
                return "entries were joined that never followed each other"
            term = int.from_bytes(entry[16:24], "little")
        now, until = max(found.term, 1) + 1, found.damaged_until
        while last < found.damaged_until:
            count = 1 + self.rng.below(3)
            self.write(Group(now, 0, count, b"".join(
                record(last + i, now) for i in range(1, count + 1)), last, term, b"", 1))
            self.disk.synced(self.seq)
            last, term = last + count, now
            self.disk.power_lost(0)
            found = self.disk.recover(damaged=True)
            if found.last_index != last or 0 < found.damaged_until <= last:
                return "what was written anew is not there"
            if not found.damaged_until and last < until:
                return "taken for whole before all was written anew"
        if found.damaged_until:
            return "damaged for ever"
        self.note(State(found.term, found.vote, found.first_index - 1, found.base_term,
                        tuple(split_records(found.records)), found.snapshot, found.partial,
                        found.first_index, healed=True))
        return ""

    def live(self) -> str:
        """Live all lives; return what was wrong, or "clean"."""
        self.disk.recover()
        wrong = self.lives() or self.flip()
        if self.state.healed and not wrong:
            wrong = self.lives() or self.flip()
        return wrong or "clean"

    def lives(self) -> str:
        """Write, and crash; return what was wrong."""
        for _ in range(GROUPS):
            if self.rng.below(20) == 0:
                wrong = self.stray()
                if wrong:
                    return wrong
            group = draw_group(self.rng, self.state)
            self.write(group)
            if self.rng.below(6):
                self.disk.synced(self.seq)
                self.note(self.state.after(group))
                continue
            wrong = self.crash(group)
            if wrong:
                return wrong
        return ""


def judge(seed: int) -> str:
    """Return the judgement of one seed."""
    try:
        return Lives(seed).live()
    except WalError as error:
        return f"refused: {error}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--mutant")
    given = parser.parse_args()
    activate(given.mutant)
    for each in given.seeds:
        print(f"{each}\t{judge(each)}", flush=True)
