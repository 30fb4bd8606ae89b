"""Tables that come from the history: the final reads, and what went wrong how often."""
from __future__ import annotations

import json
from typing import Any

import numpy as np

from seatrial.checker.history import FAIL, INFO, NEMESIS, NONE, OK, TYPE_NAMES, History

from ..coverage import final_phase, is_read

MOST_KEYS = 200
MOST_ERRORS = 60


def shown(value: Any, most: int = 80) -> str:
    """Return a value as text of bounded length; bytes that are no UTF-8 are written as hex."""
    if isinstance(value, bytes):
        try:
            words = value.decode()
        except UnicodeDecodeError:
            words = f"0x{value.hex()}"
    else:
        words = value if isinstance(value, str) else json.dumps(value, default=repr)
    return words if len(words) <= most else words[:most - 1] + "…"


def key_order(key: str) -> tuple[str, int, str]:
    """Return what keys sort by, so that k10 comes after k9."""
    head = key.rstrip("0123456789")
    return head, int(key[len(head):] or -1), key


def final_reads(history: History, nodes: list[str]) -> tuple[list[dict[str, Any]], int]:
    """Return the last final read of each key, sorted by key, and how many were left out."""
    invoked, completed = history.pairs
    done = completed[(invoked >= final_phase(history)) & (completed != NONE)
                     & is_read(history)[invoked]]
    done = done[history.type[done] == OK]
    last = {int(history.key[row]): row for row in done.tolist()}
    reads: list[dict[str, Any]] = [
        {"key": "" if key == NONE else shown(history.keys[key]), "value": shown(history.value(row)),
         "node": node_name(history, row, nodes), "time_ns": int(history.time[row])}
        for key, row in last.items()
    ]
    reads.sort(key=lambda read: key_order(read["key"]))
    return reads[:MOST_KEYS], max(len(reads) - MOST_KEYS, 0)


def node_name(history: History, row: int, nodes: list[str]) -> str:
    """Return the name of the node that a row's operation talked to, or nothing."""
    node = int(history.node[row])
    return nodes[node] if 0 <= node < len(nodes) else ""


def errors(history: History) -> list[dict[str, Any]]:
    """Return each f, outcome and error of failed and unknown operations, most frequent first."""
    bad = (history.process != NEMESIS) & np.isin(history.type, (FAIL, INFO))
    kinds, counts = np.unique(
        np.stack([history.f[bad], history.type[bad], history.error[bad]]), axis=1,
        return_counts=True)
    found = [
        {"f": history.fs[f], "outcome": TYPE_NAMES[kind],
         "error": "" if error == NONE else shown(history.errors[error], 300), "count": count}
        for (f, kind, error), count in zip(kinds.T.tolist(), counts.tolist(), strict=True)
    ]
    found.sort(key=lambda line: -line["count"])
    return found[:MOST_ERRORS]
