"""What nodes and clients said to each other, from the trace of a simulated run: a story to draw.

The trace (sim/world.pyi) has every event. A story keeps what a reader needs to follow it: messages
that say something new, crashes, changes of roles and of what a disk promises, faults; of a long
run, the end. Heartbeats that repeat what the same node was told before are left out, and counted.

``text`` prints a story, a line for each event; sequence_drawing.py draws it.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..results import Fault

Entry = tuple[int, str, int, int, Any]
MOST_EVENTS = 150                # of a story; earlier ones are left out
FOREVER_NS = (1 << 63) - 1
MOST_LETTERS = 24                # of a key or value
ROUTINE = {"heartbeat": ("term", "commit", "round"), "heartbeat-reply": ("term", "round")}
STOPS, CRASHES = ("kill", "power-loss"), ("kill", "power-loss", "broken")
DOWN, PAUSED, LEADS = "down", "paused", "leads"


@dataclass(frozen=True, slots=True)
class Arrow:
    """A message. lost: it never arrived, and ``time_ns`` is when it was sent. short: the label
    where there is little room."""

    sent_ns: int
    time_ns: int
    sender: str
    receiver: str
    kind: str
    label: str
    short: str
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at one place; where ``lane`` is empty, everywhere."""

    time_ns: int
    lane: str
    kind: str
    label: str


@dataclass(frozen=True, slots=True)
class Band:
    """How a lane was for a while: down, paused, or leading."""

    lane: str
    kind: str
    begin_ns: int
    end_ns: int | None
    label: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    """All that is told. Times are ns since clients began."""

    lanes: tuple[str, ...]
    arrows: tuple[Arrow, ...]
    marks: tuple[Mark, ...]
    bands: tuple[Band, ...]
    faults: tuple[Mark, ...] = ()        # kind: the fault's name
    violation: str = ""
    routine: int = 0                     # heartbeats that say nothing new
    earlier: int = 0                     # events before the first one told
    begin_ns: int = 0
    end_ns: int = 0


def story(
    trace: Iterable[Entry], *, nodes: Sequence[str], origin_ns: int = 0,
    owners: Mapping[int, str] | None = None, faults: Sequence[Fault] = (), violation: str = "",
    until_ns: int = FOREVER_NS, most: int = MOST_EVENTS,
) -> Story:
    """Return what a trace tells.

    origin_ns: when clients began. owners: connection -> who holds it. faults: from the results,
    their times counted from the origin, as is until_ns: when it was certain that something is
    wrong. violation: what.
    """
    teller = _Teller(nodes, origin_ns, owners or {})
    for entry in trace:
        if entry[0] - origin_ns > until_ns:
            break
        teller.hear(entry)
    return teller.story(faults, violation, most)


@dataclass
class _Teller:
    """Hears a trace from its beginning to its end."""

    nodes: Sequence[str]
    origin_ns: int
    owners: Mapping[int, str]
    arrows: list[Arrow] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    bands: list[Band] = field(default_factory=list)
    open: dict[tuple[str, str], Band] = field(default_factory=dict)
    told: dict[tuple[str, int, int], tuple[Any, ...]] = field(default_factory=dict)
    promised: dict[int, tuple[int, int]] = field(default_factory=dict)
    asked: dict[tuple[int, int], str] = field(default_factory=dict)     # connection, request -> op
    routine: int = 0
    violation: str = ""
    end_ns: int = 0

    def hear(self, entry: Entry) -> None:
        time_ns, kind, a, b, detail = entry
        now = self.end_ns = time_ns - self.origin_ns
        if kind in ("message", "lost"):
            if self._is_new(a, b, detail):
                self._arrow(now, self.node(a), self.node(b), detail, detail["type"],
                            message(detail), in_short(detail), lost=kind == "lost")
        elif kind == "request":
            says = request(detail)
            self.asked[a, detail["request"]] = detail["op"]
            self._arrow(now, self.owner(a), self.node(b), detail, kind, says, says)
        elif kind == "response":
            says = response(detail, self.asked.get((b, detail["request"]), ""))
            self._arrow(now, self.node(a), self.owner(b), detail, kind, says, says)
        elif kind == "violation":
            self.violation = str(detail)
        elif tell := TOLD.get(kind):
            tell(self, now, kind, a, b, detail)

    def _is_new(self, sender: int, receiver: int, detail: Mapping[str, Any]) -> bool:
        """Whether a message says something that the receiver was not told just before."""
        if (fields := ROUTINE.get(detail["type"])) is None:
            return True
        key, says = (detail["type"], sender, receiver), tuple(detail[name] for name in fields)
        if self.told.get(key) == says:
            self.routine += 1
            return False
        self.told[key] = says
        return True

    def _arrow(self, now: int, sender: str, receiver: str, detail: Mapping[str, Any], kind: str,
               label: str, short: str, *, lost: bool = False) -> None:
        sent = detail["sent_ns"] - self.origin_ns
        self.arrows.append(Arrow(sent, now, sender, receiver, kind, label, short, lost))

    def node(self, host: int) -> str:
        return self.nodes[host] if 0 <= host < len(self.nodes) else "?"

    def owner(self, connection: int) -> str:
        return self.owners.get(connection, f"connection {connection}")

    def mark(self, now: int, lane: str, kind: str, label: str) -> None:
        self.marks.append(Mark(now, lane, kind, label))

    def begin(self, now: int, lane: str, kind: str, label: str = "") -> None:
        self.end(now, lane, kind)
        self.open[lane, kind] = Band(lane, kind, now, None, label)

    def end(self, now: int, lane: str, *kinds: str) -> None:
        for kind in kinds:
            if band := self.open.pop((lane, kind), None):
                self.bands.append(replace(band, end_ns=now))

    # what becomes of each kind of entry

    def start(self, now: int, kind: str, a: int, b: int, detail: Any) -> None:
        self.end(now, self.node(a), DOWN, PAUSED)
        self.mark(now, self.node(a), kind, "starts")

    def crash(self, now: int, kind: str, a: int, b: int, detail: Any) -> None:
        lane = self.node(a)
        self.end(now, lane, PAUSED, LEADS)
        self.begin(now, lane, DOWN)
        words = {"kill": "killed", "power-loss": "loses power", "broken": f"stops: {detail}"}
        self.mark(now, lane, kind, words[kind])
        self.promised.pop(a, None)

    def pause(self, now: int, kind: str, a: int, b: int, detail: Any) -> None:
        self.begin(now, self.node(a), PAUSED)
        self.mark(now, self.node(a), kind, "paused")

    def resume(self, now: int, kind: str, a: int, b: int, detail: Any) -> None:
        self.end(now, self.node(a), PAUSED)
        self.mark(now, self.node(a), kind, "goes on")

    def leads(self, now: int, kind: str, a: int, b: int, detail: Any) -> None:
        self.begin(now, self.node(a), LEADS, f"leads term {detail}")
        self.mark(now, self.node(a), kind, f"leads term {detail}")

    def follows(self, now: int, kind: str, a: int, b: int, detail: Any) -> None:
        self.end(now, self.node(a), LEADS)
        self.mark(now, self.node(a), kind, "leads no more")

    def write(self, now: int, kind: str, a: int, b: int, detail: Any) -> None:
        """A group write that changes what the node promises about terms and votes."""
        term, vote, _ = detail
        if self.promised.get(a) != (term, vote):
            self.promised[a] = (term, vote)
            whom = f", vote for n{vote}" if vote else ""
            self.mark(now, self.node(a), kind, f"writes term {term}{whom}")

    def crash_point(self, now: int, kind: str, a: int, b: int, detail: Any) -> None:
        self.mark(now, self.node(a), kind, f"crash point: {detail}")

    def clock(self, now: int, kind: str, a: int, b: int, detail: Any) -> None:
        jump_ns, ppm = detail
        what = f"jumps {jump_ns / 1e6:g} ms" if jump_ns else f"runs {(ppm or 0) / 1e4:+g}%"
        self.mark(now, self.node(a), kind, f"clock {what}")

    def story(self, faults: Sequence[Fault], violation: str, most: int) -> Story:
        for lane, kind in list(self.open):
            self.bands.append(self.open.pop((lane, kind)))
        strikes = [mark for fault in faults for mark in _life(fault)]
        times = sorted(time_ns for time_ns in moments(self.arrows, self.marks) if time_ns >= 0)
        begin = times[-most] if len(times) > most else 0
        arrows = [arrow for arrow in self.arrows if arrow.time_ns >= begin]
        marks = [mark for mark in self.marks if mark.time_ns >= begin]
        clients = sorted({arrow.sender for arrow in arrows if arrow.kind == "request"}
                         | {arrow.receiver for arrow in arrows if arrow.kind == "response"})
        return Story(
            (*clients, *self.nodes), tuple(arrows), tuple(marks),
            tuple(band for band in self.bands if band.end_ns is None or band.end_ns >= begin),
            tuple(mark for mark in strikes if begin <= mark.time_ns <= self.end_ns),
            violation or self.violation, self.routine,
            len(times) - len([time for time in times if time >= begin]), begin, self.end_ns)


Tell = Callable[[_Teller, int, str, int, int, Any], None]
TOLD: dict[str, Tell] = {
    "start": _Teller.start, "pause": _Teller.pause, "resume": _Teller.resume,
    "leads": _Teller.leads, "follows": _Teller.follows, "write": _Teller.write,
    "crash-point": _Teller.crash_point, "clock": _Teller.clock,
    **dict.fromkeys(CRASHES, _Teller.crash),
}


def _life(fault: Fault) -> Iterator[Mark]:
    """Yield when a fault begins and ends."""
    hit = f" {', '.join(fault.targets)}" if fault.targets else ""
    begin = fault.requested_ns if fault.effective_ns is None else fault.effective_ns
    if begin is not None and fault.error is None:
        yield Mark(begin, "", fault.name, f"{fault.name}{hit} begins")
        if fault.ended_ns is not None:
            yield Mark(fault.ended_ns, "", fault.name, f"{fault.name}{hit} ends")


def moments(arrows: Iterable[Arrow], *marks: Iterable[Mark]) -> set[int]:
    """Return when something arrives or happens."""
    return {arrow.time_ns for arrow in arrows} | {mark.time_ns for each in marks for mark in each}


# ---- what a message says


def message(m: Mapping[str, Any]) -> str:
    """Return what a frame between nodes says (docs/formats.md has its fields)."""
    term, index, flag = m["term"], m["index"], m["flags"] & 1
    match m["type"]:
        case "vote":
            return f"vote for me, term {term} (my log: {index} of term {m['log_term']})"
        case "vote-reply":
            return f"vote {'granted' if flag else 'refused'}, term {term}"
        case "append":
            first, last = index + 1, index + m["count"]
            what = "nothing new" if not m["count"] else f"entry {first}" if first == last else (
                f"entries {first} to {last}")
            return (f"append {what}, term {term} (after {index} of term {m['log_term']}; "
                    f"commit {m['commit']})")
        case "append-reply" if flag:
            return f"refused after {m['commit']}, term {term} (try {index})"
        case "append-reply":
            return f"has all up to {index}, term {term}"
        case "heartbeat":
            asks = f", round {m['round']}" if m["round"] else ""
            return f"heartbeat, term {term} (commit {m['commit']}{asks})"
        case "heartbeat-reply":
            asks = f" (round {m['round']})" if m["round"] else ""
            return f"heard, term {term}{asks}"
        case other:
            return f"{other}, term {term}"


def in_short(m: Mapping[str, Any]) -> str:
    """Return the same in as few words as a drawing has room for."""
    term, index, flag = m["term"], m["index"], m["flags"] & 1
    match m["type"]:
        case "vote":
            return f"vote? t{term}, log {index}/t{m['log_term']}"
        case "vote-reply":
            return f"{'yes' if flag else 'no'}, t{term}"
        case "append" if not m["count"]:
            return f"append -, t{term}, commit {m['commit']}"
        case "append":
            last = index + m["count"]
            return (f"append {index + 1}{f'-{last}' if m['count'] > 1 else ''}, t{term}, "
                    f"commit {m['commit']}")
        case "append-reply" if flag:
            return f"refused, t{term}, try {index}"
        case "append-reply":
            return f"up to {index}, t{term}"
        case "heartbeat":
            return f"heartbeat t{term}, commit {m['commit']}"
        case _:
            return f"heard, t{term}"


def request(r: Mapping[str, Any]) -> str:
    """Return what a client asks for."""
    key, value = words(r["key"]), words(r["value"])
    match r["op"]:
        case "read" | "delete":
            return f"{r['op']} {key}"
        case "write" | "append":
            return f"{r['op']} {key} = {value}"
        case "cas":
            return f"cas {key}: {words(r['expected'])} to {value}"
        case other:
            return str(other).replace("-", " ")


def response(r: Mapping[str, Any], op: str = "") -> str:
    """Return what a client is answered who asked for ``op``."""
    status, value = str(r["status"]).replace("-", " "), r["value"]
    if r["status"] == "not-leader":
        leader = int.from_bytes(value or b"", "little")
        return f"{status}, ask n{leader}" if leader else status
    return f"{status}: {words(value)}" if value is not None or op == "read" else status


def words(value: Any) -> str:
    """Return a key or value as text of bounded length."""
    if value is None:
        return "nil"
    text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= MOST_LETTERS else text[:MOST_LETTERS - 1] + "…"


# ---- for the terminal


def text(told: Story, *, most: int = MOST_EVENTS * 2) -> str:
    """Return a story for the terminal: a line for each event, the last ones of too many."""
    width = max(map(len, told.lanes), default=2)
    lines = [(arrow.time_ns, 1, f"{arrow.sender:>{width}} {'-x ' if arrow.lost else '-->'} "
                                f"{arrow.receiver:<{width}}  {arrow.label}"
                                f"{' (lost)' if arrow.lost else ''}") for arrow in told.arrows]
    lines += [(mark.time_ns, 0, f"{mark.lane:>{width}} {SIGNS.get(mark.kind, '***')} "
                                f"{'':<{width}}  {mark.label}") for mark in told.marks]
    lines += [(mark.time_ns, 0, f"{'':=>{width}}={'':=>{width + 4}}  {mark.label}")
              for mark in told.faults]
    lines.sort(key=lambda line: line[:2])
    out = [f"{time_ns / 1e9:11.6f} s  {line}" for time_ns, _, line in lines[-most:]]
    if earlier := told.earlier + max(len(lines) - most, 0):
        out.insert(0, f"{'...':>13}  {earlier} earlier events")
    if told.violation:
        out.append(f"{told.end_ns / 1e9:11.6f} s  VIOLATION: {told.violation}")
    return "\n".join(out)


SIGNS = dict.fromkeys(CRASHES, " X ") | {"pause": " = ", "write": " w "}


def owners(trace: Iterable[Entry], operations: Sequence[tuple[int, int, int, str, bytes | None]],
           ) -> dict[int, str]:
    """Return who holds each connection, told by the operations that went over it.

    A client is known by its session, also on connections that were of no use to it.
    operations: (begin, end, client, f, key), times as the trace has them.
    """
    sessions: dict[int, int] = {}
    held: dict[int, int] = {}                               # connection -> session
    for time_ns, kind, connection, _, detail in trace:
        if kind != "request":
            continue
        session = held.setdefault(connection, detail["session"])
        if session not in sessions:
            client = next((client for begin, end, client, f, key in operations
                           if begin <= time_ns <= end
                           and (f, key) == (detail["op"], detail["key"])), None)
            if client is not None:
                sessions[session] = client
    return {connection: f"client {sessions[session]}" for connection, session in held.items()
            if session in sessions}
