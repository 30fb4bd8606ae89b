"""Bank: transfers move money between accounts, so each read of all sees the same total.

(Jepsen's bank workload.) The first read tells the total, unless it is given; a negative balance is
a violation too. Each key is a bank of its own.
"""
from __future__ import annotations

from typing import Any

from .history import NONE, OK, History
from .result import CheckResult, Verdict

MOST_SHOWN = 5


def check_bank(history: History, total: int | None = None, *, name: str = "bank") -> CheckResult:
    """Judge every read: the total, and that no account owes."""
    wrong: list[dict[str, Any]] = []
    reads = bad = 0
    totals: dict[int, int] = {}         # of each key
    for invoked, row in zip(*(rows.tolist() for rows in history.pairs), strict=True):
        if row == NONE or history.type[row] != OK or history.fs[history.f[row]] != "read":
            continue
        balances = _balances(history, row)
        reads += 1
        found = sum(balances.values())
        expected = totals.setdefault(int(history.key[invoked]), found if total is None else total)
        owing = sorted(str(account) for account, balance in balances.items() if balance < 0)
        why = [f"a total of {found}; expected {expected}"] if found != expected else []
        why += [f"account {account} is negative" for account in owing]
        bad += bool(why)
        if why and len(wrong) < MOST_SHOWN:
            wrong.append({"process": int(history.process[row]), "invoked_row": invoked,
                          "completed_row": row, "why": "; ".join(why),
                          "balances": {str(key): value for key, value in balances.items()}})
    evidence = {"reads": reads, "bad_reads": bad, "totals": list(totals.values()),
                "examples": wrong}
    if not reads:
        return CheckResult(name, Verdict.NO_COVERAGE, "nobody read the accounts",
                           evidence=evidence)
    if wrong:
        text = "\n".join(f"p{read['process']} read {read['balances']} (rows {read['invoked_row']}-"
                         f"{read['completed_row']}): {read['why']}" for read in wrong)
        return CheckResult(name, Verdict.VIOLATION, f"{bad} of {reads} reads are wrong: "
                           f"row {wrong[0]['completed_row']}: {wrong[0]['why']}", text, evidence)
    of = " or ".join(map(str, sorted(set(totals.values()))))
    return CheckResult(name, Verdict.PASS, f"{reads} reads, each of {of} in all", evidence=evidence)


def _balances(history: History, row: int) -> dict[Any, int]:
    value = history.value(row)
    if not isinstance(value, dict) or not all(type(cell) is int for cell in value.values()):
        raise history.bad(f"a read answered {value!r}; expected a map of accounts to numbers",
                          row)
    return value
