"""What a story happens to: a simulated tree of domains, and names for what is in it.

Nodes are named in the order in which the story meets them: ``A1`` is A's first leader, ``A2``
whoever leads it next or is named next. Terms of the root are counted from 1 in the order in which
they are seen, those that wrote nothing left out. So a story says the same under another seed, or
when the node draws its timeouts otherwise.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seatrial.core.tree import ALL, NONE, BadTree, Domain
from seatrial.harness.sim.domain_world import DomainWorld
from seatrial.harness.sim.environment import Environment

from .asking import Answer, Asking, Requests
from .language import StoryError
from .trees import MS, S, Site, declared, tree_of

HEARTBEAT_NS = 50 * MS
ELECTION_NS = 200 * MS
LOOK_NS = 10 * MS           # how often it is looked whether what is waited for is so
SETTLE_NS = 2 * HEARTBEAT_NS
SETUP_NS = 20 * S


class Stage:
    """The world of one story."""

    def __init__(self, tree: str, seed: int, environment: Environment) -> None:
        self.sites: dict[str, Site] = declared(tree)
        self.by_id = {site.id: site for site in self.sites.values()}
        try:
            first = tree_of(self.sites)
        except BadTree as error:
            raise StoryError(str(error)) from None
        self.hosts = sum(site.nodes for site in self.sites.values())
        self.world = DomainWorld(seed, self.hosts, environment)
        self.names: dict[str, int] = {}
        self.terms: dict[tuple[int, int], int] = {}
        self.shown: dict[str, str] = {}
        self.leader_shown: dict[str, int | None] = {}
        self.faults: dict[str, int] = {}
        self.pending: dict[str, Asking] = {}
        for site in self.sites.values():
            parent = self.sites[site.parent].hosts if site.parent else ()
            self.world.add_domain(site.id, site.hosts, heartbeat_ns=HEARTBEAT_NS,
                                  election_ns=ELECTION_NS, parent=parent,
                                  tree=None if parent else first)
        self.members = {name: set(site.hosts) for name, site in self.sites.items()}
        for site in self.sites.values():
            for host in site.hosts if not site.down else ():
                self.world.start(host)
        if not self.run_until(self._begun, SETUP_NS):
            raise StoryError("the tree never got going")
        for name in self.sites:
            self.leader(name)               # who leads first is its domain's node 1
        self.requests = Requests(self.world)
        self.requests.open(list(self.sites[self.root].hosts), self.run_until)
        self.run_until(self._begun, SETUP_NS)
        self.settle()

    # ---- time ----------------------------------------------------------------------------------

    def pass_time(self, ns: int) -> None:
        """Let so much virtual time pass."""
        end = self.world.now_ns + ns
        self.world.call_at(end, int)
        self.world.run([], end)

    def run_until(self, done: Callable[[], bool], limit_ns: int = 10 * S,
                  look_ns: int = LOOK_NS) -> bool:
        """Let time pass until something is so; tell whether it was within the limit."""
        end = self.world.now_ns + limit_ns
        while not done():
            if self.world.now_ns >= end:
                return False
            self.pass_time(look_ns)
        return True

    def settle(self) -> None:
        """Let what is on its way arrive."""
        self.pass_time(SETTLE_NS)

    def _begun(self) -> bool:
        """Whether all domains that are to take part from the start do."""
        end = self.status_of_leader(self.root).get("domain", {}).get("committed", 0)
        return end > 0 and all(
            self.leader(name) is not None and (
                site.outside or self.domain_status(name).get("committed", 0) == end)
            for name, site in self.sites.items() if not site.down)

    # ---- names ---------------------------------------------------------------------------------

    @property
    def root(self) -> str:
        """The root's name."""
        return next(iter(self.sites))

    def site(self, name: str) -> Site:
        """Return a domain by its name. Raises StoryError."""
        if name not in self.sites:
            raise StoryError(f"unknown domain {name!r}; expected one of {', '.join(self.sites)}")
        return self.sites[name]

    def host(self, name: str) -> int:
        """Return the host of a node by its name: a new one if nobody is called so yet."""
        site = self.site(name[:1])
        number = name[1:]
        if not number.isdecimal() or not 0 < int(number) <= site.nodes:
            raise StoryError(f"unknown node {name!r}; expected {site.name}1 to "
                             f"{site.name}{site.nodes}")
        if name not in self.names:
            taken = set(self.names.values())
            self.names[name] = next(host for host in site.hosts if host not in taken)
        return self.names[name]

    def name(self, host: int) -> str:
        """Return a node's name: the next of its domain if it has none yet."""
        for name, known in self.names.items():
            if known == host:
                return name
        site = self.by_id[self.world.domain_of(host)]
        free = (f"{site.name}{n}" for n in range(1, site.nodes + 1))
        name = next(one for one in free if one not in self.names)
        self.names[name] = host
        return name

    def place(self, name: str) -> list[int]:
        """Return the hosts of a domain, or the one host of a node."""
        return list(self.site(name).hosts) if len(name) == 1 else [self.host(name)]

    def term(self, epoch: int, term: int) -> int:
        """Return the number that the story gives a term of the root."""
        if (epoch, term) not in self.terms:
            seen = {place for host in range(self.hosts)
                    for place in self.world.invariants().mirror(host + 1) if place[1]}
            for one in sorted(seen | {(epoch, term)}):
                self.terms.setdefault(one, len(self.terms) + 1)
        return self.terms[epoch, term]

    # ---- who is what ---------------------------------------------------------------------------

    def leaders(self, name: str) -> list[int]:
        """Return the hosts that lead a domain, or believe so; the newest first."""
        return [host for _, host in self.world.leaders_of(self.site(name).id)
                if self.world.state(host) in ("up", "paused")]

    def leader(self, name: str) -> int | None:
        """Return a domain's leader, and give it a name."""
        found = self.leaders(name)
        if not found:
            return None
        self.name(found[0])
        return found[0]

    def need_leader(self, name: str) -> int:
        """Return a domain's leader. Raises StoryError."""
        host = self.leader(name)
        if host is None:
            raise StoryError(f"nobody leads {name}")
        return host

    def status_of_leader(self, name: str) -> dict[str, Any]:
        """Return what a domain's leader says of itself; nothing, if there is none."""
        host = self.leader(name)
        return (self.world.status(host) or {}) if host is not None else {}

    def domain_status(self, name: str) -> dict[str, Any]:
        """Return what a domain's leader says of its domain; nothing, if there is none."""
        return self.status_of_leader(name).get("domain") or {}

    def declared(self, name: str) -> Domain | None:
        """Return what the newest tree that the root has committed says of a domain."""
        tree = self.world.tree()
        return None if tree is None else tree.domains.get(self.site(name).id)

    def acknowledged(self, name: str) -> int | None:
        """Return how far a domain has acknowledged, as its parent's leader knows."""
        given = self.declared(name)
        if given is None or not given.parent:
            return None
        children = self.domain_status(self.by_id[given.parent].name).get("children", {})
        child = children.get(self.site(name).id)
        return None if child is None else child["acked"]

    # ---- what is seen --------------------------------------------------------------------------

    def coordinates(self, host: int) -> str:
        """Return where a node's mirror ends, as rindex@term."""
        mirror = self.world.invariants().mirror(host + 1)
        return f"{len(mirror)}@{self.term(*mirror[-1])}" if mirror else "nothing"

    def domain_line(self, name: str) -> str:
        """Return a domain as the story shows it."""
        site, leaders, said = self.sites[name], self.leaders(name), []
        said.append(f"{self.name(leaders[0])} leads" if leaders else "nobody leads")
        said += [f"{self.name(host)} believes it leads" for host in leaders[1:]]
        for state in ("down", "paused", "broken"):
            hosts = [host for host in site.hosts if self.world.state(host) == state]
            if len(hosts) == site.nodes > 1:
                said.append(f"all {state}")
            else:
                said += [f"{self.name(host)} {state}" for host in hosts]
        said += self._members(name)
        if site.parent:
            said += self._link(name)
        said += self._policy(name)
        if leaders:
            status = self.domain_status(name)
            said.append(f"holds {self.coordinates(leaders[0])}")
            said.append(f"committed {status['committed']}")
        acknowledged = self.acknowledged(name)
        if acknowledged is not None:
            said.append(f"acknowledged {acknowledged}")
        if site.parent and leaders and self.domain_status(name)["lease"]:
            said.append("lease")
        return f"{name}: {', '.join(said)}"

    def _members(self, name: str) -> list[str]:
        """Return a domain's members, when they are others than at first."""
        host = self.leader(name)
        configuration = None if host is None else self.world.configuration(host)
        if configuration is not None:
            self.members[name] = {node - 1 for node in configuration.nodes}
        if self.members[name] == set(self.sites[name].hosts):
            return []
        return ["members " + " ".join(sorted(self.name(host) for host in self.members[name]))]

    def _link(self, name: str) -> list[str]:
        """Return the state of a domain's link and how it counts."""
        said, given = [], self.declared(name)
        uplink = self.domain_status(name).get("uplink")
        if uplink is not None:
            known = uplink["state"] not in ("detached", "attaching") and uplink["node"]
            said.append(uplink["state"]
                        + (f" from {self.name(uplink['node'] - 1)}" if known else ""))
        if given is None:
            return [*said, "not in the tree"]
        if not given.sync:
            return [*said, "async"]
        return [*said, ("block " if given.block else "sync ")
                + ("included" if given.included else "held" if given.held else "excluded")]

    def _policy(self, name: str) -> list[str]:
        """Return a domain's policy as a parent, if it isn't ``all``."""
        given = self.declared(name)
        if given is None or given.any_k == ALL:
            return []
        return ["policy none" if given.any_k == NONE else f"policy any {given.any_k}"]

    def node_line(self, host: int) -> str:
        """Return a node as the story shows it."""
        state, status = self.world.state(host), self.world.status(host)
        if status is None or state != "up":
            return f"{self.name(host)}: {state}"
        role = "leads" if status["role"] == "leader" else "follows"
        return (f"{self.name(host)}: {role}, holds {self.coordinates(host)}, "
                f"committed {status['domain']['committed']}")

    def news(self) -> list[str]:
        """Return what is new: answers that came, and the domains that are not as last shown."""
        said = [self.answer_line(what, asking) for what, asking in self.pending.items()
                if asking.over]
        self.pending = {what: asking for what, asking in self.pending.items() if not asking.over}
        for name in self.sites:
            before = self.shown.get(name)
            line = self.show(name)
            if line != before:
                said.append(line)
        return said

    def show(self, name: str) -> str:
        """Return a domain as it is now, and remember that it was shown so."""
        self.shown[name] = self.domain_line(self.site(name).name)
        host = self.leader(name)
        if host is not None:
            self.leader_shown[name] = host
        return self.shown[name]

    def answer_line(self, what: str, asking: Asking) -> str:
        """Return what a client was told."""
        if asking.answer is None:
            return f"{what}: unknown, the connection broke"
        self.requests.seen(asking.answer)
        return f"{what}: {self.told(what, asking.answer)}"

    def told(self, what: str, answer: Answer) -> str:
        """Return an answer in the story's words."""
        if answer.status == "not-leader":
            leader = int.from_bytes((answer.value or b"")[:8], "little")
            return f"refused, {self.name(leader - 1) if leader else 'nobody known'} leads"
        if answer.status == "not-root":
            root = int.from_bytes((answer.value or b"")[:2], "little")
            return f"refused, {self.by_id[root].name} takes writes" if root else "refused, no root"
        if answer.status != "ok":
            return answer.status
        at = f"{answer.rindex}@{self.term(answer.epoch, answer.term)}"
        if "=" in what:
            confirmed = " ".join(self.by_id[domain].name for domain in answer.confirmed)
            return f"ok {at}" + (f", confirmed by {confirmed}" if confirmed else "")
        return f"{(answer.value or b'').decode() if answer.value is not None else 'nothing'}, " \
               f"as of {at}"
