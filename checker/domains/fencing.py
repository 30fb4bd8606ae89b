"""What a domain refuses: linearizable reads while it is fenced; and when it answers ``lost``.

Fenced is a domain that was told to be, or that has been cut off from the root longer than its
``fence_ns``: it has no valid lease, and can't ask the root. One that was told to be excluded, or
whose link alone is cut, may ask the root, but not answer by itself. Refusing is always allowed.

``lost`` says that a token's coordinates are not in the log any more. Tokens are of answers, so that
is true only after an operator declared a loss of data, and only of what was lost by it.
"""
from __future__ import annotations

import numpy as np

from ..history import NONE, Ints
from .events import Events, Span, fenced, outside
from .finding import Finding, Judged, at, earliest, ms, of, who
from .view import LINEARIZABLE, READS, View, refusals

LOST = "lost"


def fencing(view: View, events: Events) -> Judged:
    """Judge linearizable reads against the times in which their domain was fenced."""
    ok = view.is_read & (view.level == LINEARIZABLE) & view.ended
    why: dict[int, str] = {}
    spans = 0
    refused = 0
    told = []
    for number, domain in enumerate(view.guarantees.domains):
        if domain.parent is None:
            continue
        mine = np.flatnonzero(ok & (view.domain == number))
        for span in fenced(events, view.guarantees, domain.name):
            spans += 1
            inside: list[int] = mine[
                (view.begin_ns[mine] >= span.times[0]) & (view.row[mine] > span.rows[0])
                & (view.done[mine] < span.rows[1])].tolist()
            if span.alone:
                inside = [i for i in inside if view.confirmed_by(i) == [domain.name]]
            why |= {i: _said(domain.name, span) for i in inside}
            no = _refused(view, number, span)
            refused += no
            told.append({"domain": domain.name, "from_ns": span.times[0], "to_ns": span.times[1],
                         "why": span.why, "refused": no, "answered": len(inside)})
        excluded = f"{domain.name} was excluded, and it answered by itself, without asking the root"
        for _, rows in outside(events, domain.name):
            why |= dict.fromkeys(_by_itself(view, mine, domain.name, rows), excluded)
    return Judged("fencing", spans, f"fenced times passed without a linearizable read, "
                  f"{refused:,} refused", len(why),
                  [Finding(f"{who(view, i)} succeeded, although {why[i]}", i, {i: "not refused"},
                           "Without a lease and without the root, nobody can know what is newest.")
                   for i in earliest(view, why)], evidence={"fenced": told[:100]})


def _said(name: str, span: Span) -> str:
    since = ms(span.times[0]) if span.times[0] else "the start"
    return f"{name} was {span.why}, and fenced since {since}"


def _refused(view: View, number: int, span: Span) -> int:
    """How many reads a domain refused in a span."""
    history = view.history
    asked = {code for code, f in enumerate(history.fs) if READS.get(f) == LINEARIZABLE}
    return sum(
        span.rows[0] < row and done < span.rows[1] and int(history.domain[row]) == number
        and int(history.time[row]) >= span.times[0] and int(history.f[row]) in asked
        for row, done in refusals(history))


def _by_itself(view: View, mine: Ints, name: str, rows: tuple[int, int]) -> list[int]:
    """Reads that a domain vouched for alone, between two signs that it was excluded: that it was
    told, and that a later write was acknowledged without it."""
    local = [i for i in mine.tolist() if rows[0] < view.row[i] and view.done[i] < rows[1]
             and view.confirmed_by(i) == [name]]
    if not local:
        return []
    without = [int(view.row[j]) for j in np.flatnonzero(~view.is_read & view.ended).tolist()
               if rows[0] < view.row[j] and view.done[j] < rows[1]
               and view.confirmed[j] != NONE and name not in view.confirmed_by(j)]
    last = max(without, default=NONE)
    return [i for i in local if view.done[i] < last]


def lost(view: View, events: Events) -> Judged:
    """Judge answers that say that a token's coordinates are lost."""
    history = view.history
    token = history.optional("rindex")
    wrong = []
    answers = 0
    for row, done in refusals(history):
        code = int(history.error[done])
        if code == NONE or not history.errors[code].startswith(LOST):
            continue
        answers += 1
        before = [kept for when, kept in events.losses if when < done]
        sent = token[row].as_py()
        said = None if sent is None else int(sent)
        reason = _not_lost(before, said)
        if reason:
            where = view.guarantees.domains[int(history.domain[row])].name
            sent_with = "without a token" if said is None else f"with a token of rindex {said}"
            wrong.append(f"p{history.process[row]}'s {history.fs[history.f[row]]} in {where} "
                         f"(rows {row}-{done}), sent {sent_with}, was answered "
                         f"{LOST!r} ({at(view, done)}), but {reason}")
    return Judged("lost", answers, f"answers of {LOST!r} told of declared losses", len(wrong),
                  text="\n".join(wrong[:3]), evidence={"losses": len(events.losses),
                                                      "wrong": wrong[:20]},
                  left_out="" if answers else of(0, "such answer"))


def _not_lost(before: list[int | None], token: int | None) -> str:
    if token is None:
        return "there is nothing that can be lost"
    if not before:
        return "nobody had declared a loss of data"
    if all(kept is not None and token <= kept for kept in before):
        return f"the loss that was declared begins behind {max(kept or 0 for kept in before)}"
    return ""
