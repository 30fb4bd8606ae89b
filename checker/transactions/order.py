"""Orders that clients see: of the transactions of one process, and of real time.

Only edges that others don't imply: at each moment the frontier holds the transactions that have
ended and that no other in it is certain to follow (as in Elle, Kingsbury & Alvaro, VLDB'20, 4.4).
"""
from __future__ import annotations

from .edges import Edges
from .graph import PROCESS, REALTIME
from .transaction import Transaction, Transactions


def add_process_order(edges: Edges, transactions: Transactions) -> None:
    """Each transaction of a process follows the last before it that is known to have happened."""
    last: dict[int, Transaction] = {}
    for transaction in transactions.happened:
        before = last.get(transaction.process)
        if before is not None:
            edges.add_order(before, transaction, PROCESS)
        if transaction.ok:
            last[transaction.process] = transaction


def add_real_time_order(edges: Edges, transactions: Transactions) -> None:
    """A transaction that began after another had ended follows it."""
    moments = [(t.invoked, 0, t) for t in transactions.happened]
    moments += [(t.returned, 1, t) for t in transactions.happened if t.ok]
    moments.sort(key=lambda moment: moment[:2])
    frontier: dict[int, Transaction] = {}
    implied: dict[int, list[int]] = {}          # what was in the frontier when it began
    for _, ends, transaction in moments:
        if ends:
            for number in implied.pop(transaction.number):
                frontier.pop(number, None)
            frontier[transaction.number] = transaction
        else:
            for before in frontier.values():
                edges.add_order(before, transaction, REALTIME)
            if transaction.ok:
                implied[transaction.number] = list(frontier)
