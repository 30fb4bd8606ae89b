"""Many lives of one log on a simulated disk, each ended by a crash, and a judgement of it.

A list in memory says what the log must hold. After each crash the real recovery must return
that: with the write in flight or without it, with nothing else missing and nothing else in it;
and what it returned must still be there after the next power loss. At last a bit is flipped.

    python -m tests.core.wal_lives [--mutant NAME] SEED...     prints a judgement for each seed
"""
from __future__ import annotations

import argparse
from typing import NamedTuple

from seatrial.core.codec import encode_record, split_records
from seatrial.core.errors import CorruptSegment, WalError
from seatrial.core.mutants import activate
from seatrial.harness.rng import Rng
from seatrial.harness.sim.disk import Disk

SEGMENT = 4096
GROUPS = 150
SIZES = (0, 1, 7, 50, 200, 700)


class State(NamedTuple):
    """What a log holds: the hard state, and its records, the first with index 1."""

    term: int
    vote: int
    records: tuple[bytes, ...]

    def after(self, group: Group) -> State:
        """Return the state after a group write: each record voids those from its index on."""
        records = self.records
        for record in split_records(group.records):
            records = (*records[:int.from_bytes(record[8:16], "little") - 1], record)
        return State(group.term, group.vote, records)

    def recovered(self) -> tuple[int, int, bytes]:
        """Return it as recovery does."""
        return self.term, self.vote, b"".join(self.records)


class Group(NamedTuple):
    """One group write."""

    term: int
    vote: int
    entries: int
    records: bytes


EMPTY = State(0, 0, ())


def record(index: int, term: int = 1, size: int = 0) -> bytes:
    """Return a record that can be told from others with its index."""
    return encode_record(index, term, 0, b"%d/%d" % (index, term) + b"x" * size)


def draw_group(rng: Rng, state: State) -> Group:
    """Draw what a node might write next; a new term may take back some of the last records."""
    term, last = max(state.term, 1), len(state.records)
    if rng.below(5) == 0:
        term += 1 + rng.below(3)
        last -= rng.below(min(last, 4) + 1)
    size, count = rng.choice(SIZES), rng.below(4)
    return Group(term, rng.below(4), count, b"".join(
        record(last + i, term, size) for i in range(1, count + 1)))


class Lives:
    """A log's lives so far."""

    def __init__(self, seed: int) -> None:
        self.rng = Rng(seed)
        self.disk = Disk(seed, 0, sync_ns=100, sync_jitter_ns=50, sync_tail_ppm=0,
                         sync_tail_ns=0, segment_bytes=SEGMENT)
        self.state = EMPTY
        self.seq = self.crashes = self.kept = 0

    def write(self, group: Group) -> None:
        """Submit a group write; whether it gets durable is another matter."""
        self.seq += 1
        self.disk.submit(self.seq, group.term, group.vote, group.entries, group.records,
                         len(group.records), self.seq * 1000)

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
        # A seal may be there without the frame after it: it has the new hard state already.
        allowed = (self.state.after(group), self.state,
                   State(group.term, group.vote, self.state.records))
        state = next((state for state in allowed if state.recovered() == found), None)
        if state is None:
            lost = self.state.recovered()[2].startswith(found[2])
            return "lost what was promised" if lost else "not what was written"
        self.kept += state == allowed[0]
        self.state = state
        if self.rng.below(3) == 0:
            self.disk.power_lost(self.rng.next64())
            if self.disk.recover() != found:
                return "lost what was read"
        terms = [int.from_bytes(record[16:24], "little") for record in self.state.records]
        return "" if self.durable() == terms else f"the disk says {self.durable()}, not {terms}"

    def durable(self) -> list[int]:
        """Return the terms of the records that the disk says are durable."""
        return [self.disk.durable_term(i) for i in range(1, self.disk.durable_last() + 1)]

    def flip(self) -> str:
        """Flip a bit: the log must not open any more."""
        self.disk.power_lost(0)
        if self.disk.flip(self.rng.next64()) is None:
            return ""
        try:
            self.disk.recover()
        except CorruptSegment:
            return ""
        return "a flipped bit was not refused"

    def live(self) -> str:
        """Live all lives; return what was wrong, or "clean"."""
        self.disk.recover()
        for _ in range(GROUPS):
            group = draw_group(self.rng, self.state)
            self.write(group)
            if self.rng.below(6):
                self.disk.synced(self.seq)
                self.state = self.state.after(group)
                continue
            wrong = self.crash(group)
            if wrong:
                return wrong
        return self.flip() or "clean"


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
