"""An administrator's work on our node's tree of domains: ``python -m seatrial.core domain ...``.

Any host of any domain will do for it: the tree that its node holds says where the root is. All
these commands can be given again; a domain that is gone, or there already, is an answer too.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from seatrial.harness.administration import DomainState
from seatrial.harness.protocols import Host
from seatrial.harness.test import Test

from . import domains

if TYPE_CHECKING:
    from .node import NodeSystem

NOTHING = "(every refusal counts)"      # no node says that
GONE, THERE = "there is no domain called", "is in the tree already"


class NodeTrees:
    """``harness.administration.TreeAdministration`` of our node.

    command: what a refusal may say, and the words of a ``domain`` command -> a host's command.
    """

    def __init__(self, system: NodeSystem, command: Callable[..., list[str]]) -> None:
        self._system = system
        self._command = command

    async def tree(self, test: Test) -> Mapping[str, DomainState] | None:
        """Ask all nodes; of the root's leaders the newest one's word counts."""
        tree = domains.tree_of(test)
        if tree is None:
            return None
        statuses = await self._system.statuses(test)
        leading = {name: statuses[host.index] for name, (_, host)
                   in domains.leaders(tree, test.nodes, statuses).items()}
        found = leading.get(tree.root.name)
        return states(found["tree"], leading) if found and found["tree"] else None

    def excluding(self, test: Test, host: Host, domain: str) -> Sequence[str]:
        """Exclude it."""
        return self._command(NOTHING, "exclude", domain)

    def readmitting(self, test: Test, host: Host, domain: str) -> Sequence[str]:
        """Readmit it."""
        return self._command(NOTHING, "readmit", domain)

    def switching(self, test: Test, host: Host, domain: str, *, sync: bool) -> Sequence[str]:
        """Change its mode."""
        return self._command(NOTHING, "mode", domain, "sync" if sync else "async")

    def counting(self, test: Test, host: Host, domain: str, policy: str) -> Sequence[str]:
        """Change its policy."""
        return self._command(NOTHING, "policy", domain, *policy.split())

    def blocking(self, test: Test, host: Host, domain: str, *, block: bool) -> Sequence[str]:
        """Change its exclusion."""
        return self._command(NOTHING, "block", domain, "on" if block else "off")

    def moving(self, test: Test, host: Host, domain: str, parent: str) -> Sequence[str]:
        """Change its parent."""
        return self._command(NOTHING, "reparent", domain, parent)

    def removing(self, test: Test, host: Host, domain: str) -> Sequence[str]:
        """Remove it."""
        return self._command(GONE, "remove", domain)

    def adding(self, test: Test, host: Host, domain: DomainState) -> Sequence[str]:
        """Add it."""
        return self._command(THERE, "add", domain.name, *options(domain))


def options(domain: DomainState) -> list[str]:
    """Return the options of ``domain add`` that make such a domain."""
    assert domain.parent is not None
    given = ["--id", str(domain.id), "--parent", domain.parent]
    for node, address in sorted(domain.nodes.items()):
        given += ["--node", f"{node}={address}"]
    given += ["--policy", domain.policy, "--exclude-after", str(domain.exclude_after_ms)]
    for unit in ("entries", "bytes", "ms"):
        if bound := (domain.max_lag or {}).get(unit):
            given += [f"--max-lag-{unit}", str(round(bound))]
    if domain.max_lag:
        given += ["--on-lag", str(domain.max_lag["then"])]
    return given + [option for option, wanted in (
        ("--sync", domain.sync), ("--block", domain.block),
        ("--readmit-throttle", domain.readmit_throttle)) if wanted]


def states(tree: Mapping[str, Any],
           leading: Mapping[str, Mapping[str, Any]]) -> dict[str, DomainState]:
    """Return the domains of a tree as a node shows it. leading: what each domain's leader says."""
    names = {int(id): domain["name"] for id, domain in tree["domains"].items()}
    return {names[int(id)]: state(int(id), domain, names, linked_to(
        tree, leading.get(domain["name"]))) for id, domain in tree["domains"].items()}


def state(id: int, told: Mapping[str, Any], names: Mapping[int, str],
          linked: str | None) -> DomainState:
    """Return one of them."""
    nodes = {int(node): address for node, address in told["nodes"].items()}
    if "parent" not in told:
        return DomainState(told["name"], id, None, nodes, told["policy"])
    return DomainState(
        told["name"], id, names[told["parent"]], nodes, told["policy"], told["mode"] == "sync",
        told["included"], told["held"], told["exclusion"] == "block",
        round(told["exclude_after_ms"]), told["max_lag"], told["readmit_throttle"], linked)


def linked_to(tree: Mapping[str, Any], leader: Mapping[str, Any] | None) -> str | None:
    """Return the domain from whose node a leader gets entries."""
    uplink = ((leader or {}).get("domain") or {}).get("uplink") or {}
    if uplink.get("state") != domains.SERVING:
        return None
    return next((str(domain["name"]) for domain in tree["domains"].values()
                 if str(uplink["node"]) in domain["nodes"]), None)
