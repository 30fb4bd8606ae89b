"""What checking Raft's invariants adds to a step of a simulated node.

Processor time of the incremental check: of a step that changes nothing, of an entry that a log
gains, of an entry that is committed. The peer is the check of the whole state by definition, of
three logs of that length, as it would be after every step.
Results go to bench/results/invariants/<time>.json and bench/results/latest.json.
"""
from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from _results import save

from seatrial.core import codec
from seatrial.core.invariants import ClusterInvariants
from seatrial.core.replica import Replica

MS = 1_000_000
STEPS = 1_000_000
APPEND = {name: number for number, name in codec.MESSAGE_TYPES.items()}["append"]


def followers(entries: int) -> list[Replica]:
    """Three nodes whose disks held the same log."""
    log = b"".join(codec.encode_record(i, 1, 0, b"v" * 100) for i in range(1, entries + 1))
    replicas = []
    for node in (1, 2, 3):
        replica = Replica(node, (1, 2, 3), seed=node, now_ns=0, heartbeat_ns=10 * MS,
                          election_ns=100 * MS)
        replica.restore(1, 0, log)
        replicas.append(replica)
    return replicas


def commit(replica: Replica, index: int) -> None:
    """Let a leader's word commit the log up to ``index``."""
    leader = 2 if replica.raft.node == 1 else 1
    replica.receive_peer(leader, codec.encode_message(
        APPEND, leader, replica.raft.node, 1, index=index, log_term=1, commit=index), 0)
    replica.poll(0)


def timed(action: Callable[[], None], count: int) -> float:
    """Return how many ns of processor time one of ``count`` takes."""
    begin = time.process_time_ns()
    action()
    return (time.process_time_ns() - begin) / count


def once(entries: int) -> dict[str, float]:
    """Measure everything once."""
    replicas = followers(entries)
    invariants = ClusterInvariants()
    first, second, _ = replicas
    found = {
        "entry appended, the first such": timed(
            lambda: invariants.check([first]), entries),
        "entry appended that another log holds": timed(
            lambda: invariants.check([first, second]), entries)}
    invariants.check(replicas)
    same = replicas[:1] * (STEPS - 2) + replicas[1:]
    found["step without a change"] = timed(lambda: invariants.check(same), STEPS)
    commit(first, entries)
    found["entry committed, the first time"] = timed(lambda: invariants.check(replicas), entries)
    commit(second, entries)
    found["entry committed that another node committed"] = timed(
        lambda: invariants.check(replicas), entries)
    found["the whole state"] = timed(lambda: invariants.check_whole(replicas), 1)
    return found


def measure(entries: int, repeats: int) -> list[dict[str, Any]]:
    """Return the lines of the results."""
    runs = [once(entries) for _ in range(repeats)]
    whole = statistics.median(run.pop("the whole state") for run in runs)
    rows = []
    for name in runs[0]:
        ours = [run[name] for run in runs]
        middle = statistics.median(ours)
        peer = round(whole) if name.startswith("step") else None
        rows.append({"name": name, "ours": round(middle, 1), "peer": peer, "unit": "ns",
                     "peer_name": f"whole check, {entries} entries" if peer else None,
                     "ratio": None if peer is None else round(peer / middle),
                     "repeats": repeats, "spread": round((max(ours) - min(ours)) / middle, 3)})
    return rows


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dry", action="store_true", help="print, but write no results")
    options = parser.parse_args()
    rows = measure(options.entries, options.repeats)
    for line in rows:
        ratio = "" if line["ratio"] is None else f"{line['ratio']:9,} x {line['peer_name']}"
        print(f"{line['name']:<48}{line['ours']:>9} {line['unit']}{ratio}", flush=True)
    if not options.dry:
        print(save("invariants", rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
