"""What a story can say: commands, and what it can wait for.

Each is a pattern and a function; ``docs/simulation.md`` lists them. A word that is not known, or a
command that is put wrongly, ends the story with one line.
"""
from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any

from seatrial.core.errors import HandshakeRefused
from seatrial.core.handshake import ConnectorHandshake, ListenerHandshake
from seatrial.core.membership import BadConfiguration, Change
from seatrial.core.tree import BadTree, Tree
from seatrial.harness.errors import BadInput
from seatrial.harness.sim.environment import Environment, environment

from .language import StoryError
from .stage import LOOK_NS, Stage
from .trees import EXCLUDE_NS, MS, S, describe, policy

UNITS = {"ms": MS, "s": S}
LIMIT_NS = 10 * S               # of what is waited for
ANSWER_NS = 500 * MS            # of a write, before the story goes on without its answer
READ_NS = 2 * S
KEY, LINK, MEMBERS = b"key of all links" * 2, "link", "members"

DOMAIN, PLACE = r"([A-Z])", r"([A-Z]\d*)"
TIME = r"([\d.]+ (?:ms|s))"
WORD = r"(\w+)"
FORMS = {"DOMAIN": DOMAIN, "PARENT": DOMAIN, "NODE": r"([A-Z]\d+)", "PLACE": PLACE, "PLACES":
         r"([A-Z]\d*(?:,[A-Z]\d*)*)", "OTHERS": r"([A-Z]\d*(?:,[A-Z]\d*)*|clients)", "TIME": TIME,
         "KEY": WORD, "VALUE": WORD, "N": r"(\d+)", "WORDS": r"(.+)"}

Does = Callable[..., list[str] | None]
Holds = Callable[..., bool]
COMMANDS: list[tuple[str, re.Pattern[str], Does]] = []
CONDITIONS: list[tuple[str, re.Pattern[str], Holds]] = []


def compiled(form: str) -> re.Pattern[str]:
    """Return the pattern of a form: its words in capitals stand for what a story puts there."""
    return re.compile(re.sub(r"[A-Z]+", lambda found: FORMS[found[0]], re.escape(form).replace(
        r"\ ", " ")))


def command(*forms: str) -> Callable[[Does], Does]:
    """Add a command."""
    def add(does: Does) -> Does:
        COMMANDS.extend((form, compiled(form), does) for form in forms)
        return does
    return add


def condition(*forms: str) -> Callable[[Holds], Holds]:
    """Add something that can be waited for."""
    def add(holds: Holds) -> Holds:
        CONDITIONS.extend((form, compiled(form), holds) for form in forms)
        return holds
    return add


def found(kind: str, text: str, table: list[tuple[str, re.Pattern[str], Any]],
          ) -> tuple[Any, tuple[str, ...]]:
    """Return the function of a text and its words. Raises StoryError."""
    for _, pattern, function in table:
        match = pattern.fullmatch(text)
        if match is not None:
            return function, match.groups()
    first = text.split()[0]
    forms = [form for form, _, _ in table if form.split()[0] == first]
    if forms:
        raise StoryError(f"{kind} {text!r}: expected {' or '.join(map(repr, forms))}")
    known = [form for form, _, _ in table]
    near = difflib.get_close_matches(text, known, n=1, cutoff=0.3)
    raise StoryError(f"unknown {kind} {text!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


def ns(text: str) -> int:
    """Return a time in ns."""
    number, unit = text.split()
    return int(float(number) * UNITS[unit])


class Story:
    """One story that is being told: does its commands, one after the other."""

    def __init__(self) -> None:
        self.seed = 1
        self.fields: dict[str, Any] = {"session_ttl_ns": 0}     # or log time writes entries
        self.stage: Stage | None = None

    def __call__(self, text: str) -> list[str]:
        """Do a command; return what is seen then. Raises StoryError."""
        if self._is_before(text):
            return self.stage.news() if self.stage is not None else []
        if self.stage is None:
            raise StoryError("expected 'tree ...' before anything else happens")
        does, words = found("command", text, COMMANDS)
        try:
            said = does(self.stage, *words) or []
        except (BadTree, BadConfiguration) as error:
            said = [f"refused: {error}"]
        return said + self.stage.news()

    def _is_before(self, text: str) -> bool:
        """Take what must be said before the tree is there, and the tree."""
        verb, _, rest = text.partition(" ")
        if verb not in ("seed", "given", "tree"):
            return False
        if self.stage is not None:
            raise StoryError(f"{verb!r} after the tree")
        if verb == "seed":
            if not rest.isdecimal():
                raise StoryError(f"expected 'seed N', got {text!r}")
            self.seed = int(rest)
        elif verb == "given":
            self._take_fields(rest)
        else:
            self.stage = Stage(rest, self.seed, self._environment())
        return True

    def _take_fields(self, rest: str) -> None:
        for pair in rest.split():
            name, _, value = pair.partition("=")
            if not value.isdecimal():
                raise StoryError(f"expected 'given FIELD=NUMBER', got {pair!r}")
            self.fields[name] = int(value)
        self._environment()

    def _environment(self) -> Environment:
        try:
            return environment(self.fields)
        except BadInput as error:
            raise StoryError(str(error)) from None


# ---- clients -------------------------------------------------------------------------------------


@command("write KEY=VALUE at PLACE")
def write(stage: Stage, key: str, value: str, place: str) -> None:
    """Write; without an answer in time the story goes on."""
    asking = stage.requests.write(hosts(stage, place), key, value)
    stage.pending[f"{key}={value}"] = asking
    if stage.run_until(lambda: asking.over, ANSWER_NS):
        stage.settle()


@command("send KEY=VALUE to PLACE")
def send(stage: Stage, key: str, value: str, place: str) -> None:
    """Ask for a write and go on at once."""
    stage.pending[f"{key}={value}"] = stage.requests.write(hosts(stage, place), key, value)


@command("write N times at DOMAIN")
def write_many(stage: Stage, number: str, domain: str) -> list[str]:
    """Write so many values, one after the other, and wait for each."""
    for n in range(int(number)):
        asking = stage.requests.write(hosts(stage, domain), f"k{n % 5}", "v" * 100)
        if not stage.run_until(lambda asking=asking: asking.over, LIMIT_NS):
            return [f"no answer to the {n + 1}th write"]
        if asking.answer is None or asking.answer.status != "ok":
            return [stage.answer_line(f"k{n}=", asking)]
    stage.settle()
    return []


@command("read KEY at PLACE", "read KEY at PLACE WORDS")
def read(stage: Stage, key: str, place: str, how: str = "") -> list[str]:
    """Read: linearizable, ``prefix``, ``session`` or ``bounded TIME``."""
    kind, _, bound = how.partition(" ")
    if how not in ("", "prefix", "session") and not re.fullmatch(f"bounded {TIME}", how):
        raise StoryError(f"expected 'prefix', 'session' or 'bounded 2 s', got {how!r}")
    asking = stage.requests.read(hosts(stage, place), key, kind=kind,
                                 bound_ns=ns(bound) if bound else 0)
    if not stage.run_until(lambda: asking.over, READ_NS):
        return [f"{key} at {place}: no answer"]
    stage.settle()
    return [stage.answer_line(f"{key} at {place}", asking)]


@command("ask KEY at PLACE")
def ask(stage: Stage, key: str, place: str) -> None:
    """Ask for a linearizable read and go on at once."""
    stage.pending[f"{key} at {place}"] = stage.requests.read(hosts(stage, place), key)


def hosts(stage: Stage, place: str) -> list[int]:
    """Return whom a client asks: one node, or a domain's, its leader first."""
    found = stage.place(place)
    leader = stage.leader(place) if len(place) == 1 else None
    return sorted(found, key=lambda host: host != leader)


# ---- time ----------------------------------------------------------------------------------------


@command("step TIME")
def step(stage: Stage, time: str) -> None:
    """Let time pass."""
    stage.pass_time(ns(time))


@command("wait until WORDS")
def wait(stage: Stage, text: str) -> list[str]:
    """Wait until all of some conditions hold, and what is on its way has arrived; it is told when
    they do not hold in time."""
    late = as_soon_as(stage, text, LOOK_NS)
    if not late:
        stage.settle()
    return late


@command("as soon as WORDS")
def as_soon_as(stage: Stage, text: str, look_ns: int = MS) -> list[str]:
    """The same, but stop at that moment."""
    text, _, within = text.partition(" within ")
    if within and not re.fullmatch(TIME, within):
        raise StoryError(f"expected 'within 2 s', got {within!r}")
    wanted = [found("condition", part, CONDITIONS) for part in text.split(" and ")]
    limit_ns = ns(within) if within else LIMIT_NS
    if stage.run_until(lambda: all(holds(stage, *words) for holds, words in wanted), limit_ns,
                       look_ns):
        return []
    return [f"not within {within or '10 s'}"]


@condition("all agree")
def all_agree(stage: Stage) -> bool:
    return stage.world.converged() is None


@condition("DOMAIN has a leader")
def has_a_leader(stage: Stage, domain: str) -> bool:
    return stage.leader(domain) is not None


@condition("DOMAIN has another leader")
def has_another_leader(stage: Stage, domain: str) -> bool:
    host = stage.leader(domain)
    return host is not None and host != stage.leader_shown.get(domain)


@condition("NODE leads")
def leads(stage: Stage, node: str) -> bool:
    return stage.leader(node[0]) == stage.host(node)


def is_in(state: str) -> Holds:
    """Return whether a domain's link is in a state."""
    def holds(stage: Stage, domain: str) -> bool:
        uplink = stage.domain_status(domain).get("uplink") or {}
        return uplink.get("state") == state
    return holds


for _state in ("detached", "attaching", "catching-up", "streaming"):
    condition(f"DOMAIN is {_state}")(is_in(_state))
condition("DOMAIN is sent a snapshot")(is_in("snapshot"))


@condition("DOMAIN is included")
def is_included(stage: Stage, domain: str) -> bool:
    given = stage.declared(domain)
    return given is not None and given.sync and given.included


@condition("DOMAIN is excluded")
def is_excluded(stage: Stage, domain: str) -> bool:
    given = stage.declared(domain)
    return given is not None and given.sync and not given.included


@condition("DOMAIN is async")
def is_async(stage: Stage, domain: str) -> bool:
    given = stage.declared(domain)
    return given is not None and not given.sync


@condition("DOMAIN is not in the tree")
def not_in_the_tree(stage: Stage, domain: str) -> bool:
    return stage.declared(domain) is None


@condition("DOMAIN holds N")
def holds_entry(stage: Stage, domain: str, rindex: str) -> bool:
    return stage.domain_status(domain).get("mirror_end", 0) >= int(rindex)


@condition("DOMAIN committed N")
def committed(stage: Stage, domain: str, rindex: str) -> bool:
    return stage.domain_status(domain).get("committed", 0) >= int(rindex)


@condition("DOMAIN acknowledged N")
def acknowledged(stage: Stage, domain: str, rindex: str) -> bool:
    return (stage.acknowledged(domain) or 0) >= int(rindex)


@condition("DOMAIN has a lease")
def has_a_lease(stage: Stage, domain: str) -> bool:
    return bool(stage.domain_status(domain).get("lease"))


@condition("DOMAIN has no lease")
def has_no_lease(stage: Stage, domain: str) -> bool:
    return not has_a_lease(stage, domain)


@condition("KEY=VALUE is answered")
def is_answered(stage: Stage, key: str, value: str) -> bool:
    return is_over(stage, f"{key}={value}")


@condition("KEY at PLACE is answered")
def read_is_answered(stage: Stage, key: str, place: str) -> bool:
    return is_over(stage, f"{key} at {place}")


def is_over(stage: Stage, what: str) -> bool:
    if what not in stage.pending:
        raise StoryError(f"nobody waits for an answer to {what}")
    return stage.pending[what].over


@condition("members of DOMAIN are settled")
def are_settled(stage: Stage, domain: str) -> bool:
    host = stage.leader(domain)
    return host is not None and stage.world.settled(host)


# ---- the network ---------------------------------------------------------------------------------


def ways(stage: Stage, one: str, other: str) -> list[tuple[int, int]]:
    """Return the pairs (receiver, sender) of what one side says to the other."""
    def ends(text: str) -> list[int]:
        if text == "clients":
            return [stage.hosts]
        return [host for place in text.split(",") for host in stage.place(place)]
    return [(b, a) for a in ends(one) for b in ends(other) if a != b]


def cut_pairs(stage: Stage, name: str, pairs: list[tuple[int, int]]) -> None:
    if name in stage.faults:
        raise StoryError(f"{name} is cut already")
    stage.faults[name] = stage.world.cut(sorted(set(pairs)))


@command("cut PLACES-OTHERS")
def cut(stage: Stage, one: str, other: str) -> None:
    """Two sides no longer hear each other."""
    cut_pairs(stage, f"{one}-{other}", ways(stage, one, other) + ways(stage, other, one))


@command("cut PLACES->OTHERS")
def cut_one_way(stage: Stage, one: str, other: str) -> None:
    """What the first says does not reach the second."""
    cut_pairs(stage, f"{one}->{other}", ways(stage, one, other))


@command("cut link DOMAIN-PARENT")
def cut_link(stage: Stage, one: str, other: str) -> None:
    """The leaders of two domains no longer hear each other; all others do."""
    a, b = stage.need_leader(one), stage.need_leader(other)
    cut_pairs(stage, f"link {one}-{other}", [(a, b), (b, a)])


@command("isolate PLACE")
def isolate(stage: Stage, place: str) -> None:
    """Nobody outside hears them any more, nor they others; but clients do."""
    inside = stage.place(place)
    cut_pairs(stage, place, [pair for a in inside for b in range(stage.hosts) if b not in inside
                             for pair in ((a, b), (b, a))])


@command("delay PLACES-OTHERS TIME")
def delay(stage: Stage, one: str, other: str, time: str) -> None:
    """What two sides say to each other takes so much longer."""
    stage.faults[f"{one}-{other}"] = stage.world.impair(
        sorted(set(ways(stage, one, other) + ways(stage, other, one))), delay_ns=ns(time))


@command("heal", "heal WORDS")
def heal(stage: Stage, name: str = "") -> None:
    """End a cut or delay, named as it was begun; or all."""
    if name and name not in stage.faults:
        raise StoryError(f"{name!r} is not cut; cut are: {', '.join(stage.faults) or 'none'}")
    for one in [name] if name else list(stage.faults):
        stage.world.lift(stage.faults.pop(one))


@command("break link DOMAIN-PARENT")
def break_link(stage: Stage, one: str, other: str) -> None:
    """The connection between two leaders breaks."""
    stage.world.reset(stage.need_leader(one), stage.need_leader(other))


# ---- nodes ---------------------------------------------------------------------------------------


def struck(stage: Stage, text: str) -> list[int]:
    """Return the hosts of a place, or of ``leader of DOMAIN``."""
    if text.startswith("leader of "):
        return [stage.need_leader(text.removeprefix("leader of "))]
    if not re.fullmatch(PLACE, text):
        raise StoryError(f"expected a domain, a node, or 'leader of DOMAIN', got {text!r}")
    return stage.place(text)


@command("kill WORDS")
def kill(stage: Stage, text: str) -> None:
    """End processes."""
    for host in struck(stage, text):
        stage.world.kill(host)


@command("power-loss WORDS")
def power_loss(stage: Stage, text: str) -> None:
    """Hosts lose their power, and what was not synced."""
    for host in struck(stage, text):
        stage.world.power_loss(host)


@command("start WORDS")
def start(stage: Stage, text: str) -> None:
    """Start nodes that are down; ``start all``: all of them."""
    for host in range(stage.hosts) if text == "all" else struck(stage, text):
        if stage.world.state(host) == "down":
            stage.world.start(host)


@command("pause WORDS")
def pause(stage: Stage, text: str) -> None:
    """Stop processes where they are."""
    for host in struck(stage, text):
        stage.world.pause(host)


@command("resume WORDS")
def resume(stage: Stage, text: str) -> None:
    """Let processes go on."""
    for host in struck(stage, text):
        stage.world.resume(host)


@command("hand DOMAIN to NODE")
def hand(stage: Stage, domain: str, node: str) -> list[str]:
    """Have a domain's leader let another member lead."""
    done = stage.world.transfer(stage.need_leader(domain), stage.host(node))
    return [] if done else ["refused"]


def change_members(stage: Stage, kind: str, node: str) -> list[str]:
    done = stage.world.change(stage.need_leader(node[0]), [Change(kind, stage.host(node) + 1)])
    return [] if done else ["refused"]


@command("remove member NODE")
def remove_member(stage: Stage, node: str) -> list[str]:
    """Have a domain go on without one of its members."""
    return change_members(stage, "remove", node)


@command("add member NODE")
def add_member(stage: Stage, node: str) -> list[str]:
    """Have a domain take a node in that it removed before."""
    return change_members(stage, "voter", node)


# ---- the tree ------------------------------------------------------------------------------------


def change_tree(stage: Stage, change: Callable[[Tree], Tree]) -> list[str]:
    done = stage.world.change_tree(stage.need_leader(stage.root), change)
    return [] if done else [f"refused: {stage.root}'s leader can't be asked"]


@command("exclude DOMAIN")
def exclude(stage: Stage, domain: str) -> list[str]:
    """An operator excludes a domain: until it is readmitted."""
    id = stage.site(domain).id
    return change_tree(stage, lambda tree: tree.exclude(id, held=True))


@command("readmit DOMAIN")
def readmit(stage: Stage, domain: str) -> list[str]:
    """An operator lets a domain count again, once it has caught up."""
    id = stage.site(domain).id
    return change_tree(stage, lambda tree: tree.release(id))


@command("reparent DOMAIN to PARENT")
def reparent(stage: Stage, domain: str, parent: str) -> list[str]:
    """A domain gets another parent."""
    id, to = stage.site(domain).id, stage.site(parent).id
    return change_tree(stage, lambda tree: tree.reparent(id, to))


@command("mode DOMAIN WORDS")
def mode(stage: Stage, domain: str, words: str) -> list[str]:
    """``sync`` or ``async``; ``block`` or ``exclude``."""
    id = stage.site(domain).id
    if words in ("sync", "async"):
        return change_tree(stage, lambda tree: tree.mode(id, words == "sync"))
    if words in ("block", "exclude"):
        return change_tree(stage, lambda tree: tree.block(id, words == "block"))
    raise StoryError(f"expected sync, async, block or exclude, got {words!r}")


@command("policy DOMAIN WORDS")
def change_policy(stage: Stage, domain: str, text: str) -> list[str]:
    """Which of its sync children a parent waits for: ``all``, ``any K`` or ``none``."""
    id, words = stage.site(domain).id, text.split()
    if words[0] not in ("all", "any", "none"):
        raise StoryError(f"expected all, any K or none, got {text!r}")
    any_k = policy(words)
    return change_tree(stage, lambda tree: tree.policy(id, any_k))


@command("add DOMAIN to PARENT", "add DOMAIN to PARENT WORDS")
def add(stage: Stage, domain: str, parent: str, words: str = "") -> list[str]:
    """The tree gets a domain."""
    site = stage.site(domain)
    site.parent, site.sync, site.included = stage.site(parent).name, False, False
    describe(site, words.split())
    given = site.domain(stage.sites)._replace(exclude_after_ns=EXCLUDE_NS)
    return change_tree(stage, lambda tree: tree.add(site.id, given))


@command("remove DOMAIN")
def remove(stage: Stage, domain: str) -> list[str]:
    """The tree loses a domain."""
    id = stage.site(domain).id
    return change_tree(stage, lambda tree: tree.remove(id))


@command("knock at PLACE as N WORDS")
def knock(stage: Stage, place: str, number: str, words: str) -> list[str]:
    """Somebody who says it is the leader of a domain of this number dials a node: ``with our key``,
    ``with another key`` or ``of another cluster``. What is said first is the node's own handshake,
    the domains that may come in are those of the tree that the node holds."""
    if words not in ("with our key", "with another key", "of another cluster"):
        raise StoryError(f"expected 'with our key', 'with another key' or 'of another cluster', "
                         f"got {words!r}")
    tree = stage.world.tree()
    assert tree is not None
    known = [id for id, domain in tree.domains.items() if domain.parent]
    here = ListenerHandshake("story", stage.place(place)[0] + 1, {"link": KEY}, b"l" * 32,
                             domains=known)
    there = ConnectorHandshake("another" if "cluster" in words else "story", "link",
                               KEY[::-1] if "another key" in words else KEY, b"c" * 32,
                               node=int(number))
    try:
        heard = here.receive(there.hello())
        proof = there.receive(heard)
        there.receive(here.receive(proof))
    except HandshakeRefused as refusal:
        return [f"refused: {refusal}"]
    return ["let in"]


# ---- looking -------------------------------------------------------------------------------------


@command("show WORDS")
def show(stage: Stage, words: str) -> list[str]:
    """Show a domain or a node; ``show nodes of DOMAIN``: each of its nodes; ``show all``."""
    if words == "all":
        return [stage.show(name) for name in stage.sites]
    if words.startswith("nodes of "):
        site = stage.site(words.removeprefix("nodes of "))
        return sorted(stage.node_line(host) for host in site.hosts)
    if not re.fullmatch(PLACE, words):
        raise StoryError(f"expected 'all', a domain, a node or 'nodes of DOMAIN', got {words!r}")
    return [stage.show(words) if len(words) == 1 else stage.node_line(stage.host(words))]
