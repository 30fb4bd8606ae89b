"""An administrator's work on our node: its own commands, run on its hosts.

All of it goes through ``python -m seatrial.core`` with the configuration of the node concerned,
as docs/operations.md says. Each script can be run again, wherever the one before it was
interrupted: it looks at what is there already, and takes "is a voter already" for an answer. A
host's data is removed only after the cluster has said that its node is no member.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from seatrial.harness.administration import Life, Members
from seatrial.harness.protocols import Host
from seatrial.harness.test import Test

from .deploy import FIND, PYTHON, Deployment
from .numbers import STEP, position
from .trees import NodeTrees

if TYPE_CHECKING:
    from .node import NodeSystem

PATIENCE_S = 15         # of a command: how long it waits until all is in force
NEWEST_PROTOCOL = 2

# $1 home, $2 site, $3 python, $4 patience
COMMON = FIND.replace("$1", "$home").replace("set -u", """
set -u
home=$1 site=$2 python=$3 patience=$4
find() {""") + """}
start() {
    find
    [ -z "$pid" ] && [ -e "$home/node.yml" ] || return 0
    rm -f "$home/node.pid"
    PYTHONPATH=$site setsid sh -c 'echo $$ >"$1/node.pid"; shift; exec "$@"' sh "$home" \\
        "$python" -s -m seatrial.core serve --config "$home/node.yml" \\
        </dev/null >>"$home/node.log" 2>&1 &
    while [ ! -s "$home/node.pid" ]; do sleep 0.01; done
}
stop() {
    find
    [ -n "$pid" ] || return 0
    kill -TERM "$pid"
    waited=0
    while kill -0 "$pid" 2>/dev/null && ! grep -q '^State:.*Z' "/proc/$pid/status" 2>/dev/null; do
        waited=$((waited + 1))
        [ $waited -lt 500 ] || { echo "the node does not end" >&2; exit 1; }
        sleep 0.02
    done
}
core() {
    PYTHONPATH=$site "$python" -s -m seatrial.core "$@" --config "$home/node.yml" \\
        --timeout "$patience" 2>&1
}
ask() {     # $1: what it may say as well when it refuses
    fine=$1; shift
    said=$(core "$@") && return 0
    case $said in *"$fine"*) return 0 ;; esac
    printf '%s\\n' "$said" | tail -n 1 >&2
    exit 1
}
of() { sed -n "s/^$1: *//p" "$home/node.yml" | tr -d "'"; }     # YAML quotes [v6]:port
"""
START = COMMON + "start\n"
RESTART = COMMON + "stop\nstart\n"
# $5: the configuration of a new node
NEW = COMMON + """
if [ ! -e "$home/node.yml" ]; then
    rm -rf -- "$home/data"
    printf '%s' "$5" >"$home/node.yml.new"
    chmod 600 "$home/node.yml.new"
    mv "$home/node.yml.new" "$home/node.yml"
fi
start
"""
JOIN = NEW + """
ask already member add "$(of node)" "$(of advertise)" $6
"""
REPLACE = NEW + """
ask already member replace "$6" "$(of node)" "$(of advertise)"
"""
LEAVE = COMMON + """
[ -e "$home/node.yml" ] || exit 0
ask "is not a member" member remove "$(of node)"
stop
rm -rf -- "$home/data" "$home/node.yml" "$home/node.pid"
"""
DEMOTE = COMMON + """
ask "is a learner already" member demote "$(of node)"
"""
TRANSFER = COMMON + """
ask "never" transfer $5
"""
SNAPSHOT = COMMON + """
ask "never" snapshot
"""
SPEAK = COMMON + """
[ "$(of protocol)" != "$5" ] || { start; exit 0; }
sed -i "s/^protocol: .*/protocol: $5/" "$home/node.yml"
stop
start
"""
# $5: how a refusal ends that says that it is done already; then the words of a `domain` command
TREE = COMMON + """
fine=$5; shift 5
ask "$fine" domain "$@"
"""


class NodeAdministration:
    """``harness.administration.Administration`` of our node."""

    def __init__(self, system: NodeSystem, protocol: int) -> None:
        self.protocol = protocol
        self.newer_protocol = NEWEST_PROTOCOL if protocol < NEWEST_PROTOCOL else None
        self.trees = NodeTrees(system, partial(self.script, TREE))
        self._system = system
        self._highest: dict[int, int] = {}      # position -> number of its newest node
        self._addresses: dict[int, str] = {}    # as the leader told last

    def addresses(self, founders: Mapping[int, str]) -> Mapping[int, str]:
        """Return the members' addresses by number, as far as is known."""
        return self._addresses or founders

    # What proves it

    async def members(self, test: Test) -> Members | None:
        """Ask all nodes; the newest leader's word counts."""
        found = await self._system.statuses(test)
        leading = [status for status in found.values() if status["role"] == "leader"]
        if not leading:
            return None
        status = max(leading, key=lambda status: int(status["term"]))
        members = status["membership"]
        self._addresses = {int(node): address for node, address in members["addresses"].items()}

        def names(*kinds: str) -> frozenset[str]:
            return frozenset(test.nodes[position(node)].name for kind in kinds
                             for node in members[kind])

        voters = names("voters", "outgoing")
        return Members(
            test.nodes[position(status["node"])].name, int(status["term"]),
            bool(members["committed"]) and not members["joint"], voters,
            names("learners", "learners_next") - voters,
            {test.nodes[position(int(node))].name: max(0, status["commit"] - seen["match_index"])
             for node, seen in status["peers"].items() if seen["connected"]})

    async def lives(self, test: Test) -> Mapping[str, Life]:
        """Ask all nodes."""
        return {test.nodes[index].name: life(status)
                for index, status in (await self._system.statuses(test)).items()}

    # What is done

    def joining(self, test: Test, host: Host, *, learner: bool = False) -> Sequence[str]:
        """Add it."""
        return self.script(JOIN, self._new(test, host), "--learner" if learner else "")

    def leaving(self, test: Test, host: Host) -> Sequence[str]:
        """Remove it."""
        return self.script(LEAVE)

    def demoting(self, test: Test, host: Host) -> Sequence[str]:
        """Make it a learner."""
        return self.script(DEMOTE)

    def replacing(self, test: Test, old: Host, new: Host) -> Sequence[str]:
        """Replace the old host's node."""
        numbers = [number for number in self._addresses if position(number) == old.index]
        return self.script(REPLACE, self._new(test, new), str(max(numbers, default=0)))

    def handing_over(self, test: Test, host: Host, to: Host | None = None) -> Sequence[str]:
        """Transfer leadership."""
        numbers = [] if to is None else [
            number for number in self._addresses if position(number) == to.index]
        return self.script(TRANSFER, str(max(numbers)) if numbers else "")

    def starting(self, test: Test, host: Host) -> Sequence[str]:
        """Start it."""
        return self.script(START)

    def restarting(self, test: Test, host: Host) -> Sequence[str]:
        """SIGTERM, and start it."""
        return self.script(RESTART)

    def speaking(self, test: Test, host: Host, protocol: int) -> Sequence[str]:
        """Restart it with another ``protocol`` in its configuration."""
        return self.script(SPEAK, str(protocol))

    def taking_snapshot(self, test: Test, host: Host) -> Sequence[str]:
        """Have it take a snapshot."""
        return self.script(SNAPSHOT)

    def _new(self, test: Test, host: Host) -> str:
        """Return the configuration of a node that the cluster has never heard of."""
        number = self._highest.get(host.index, host.index + 1) + STEP
        self._highest[host.index] = number
        return self._system.config(test, host, number)

    def script(self, script: str, *arguments: str) -> list[str]:
        """Return the command that runs a script on a host."""
        node: Deployment = self._system.deployment
        return ["sh", "-c", script, "seatrial", node.home, node.site, PYTHON, str(PATIENCE_S),
                *arguments]


def life(status: Mapping[str, Any]) -> Life:
    """Return what a node said of itself."""
    return Life(int(status["pid"]), int(status["protocol"]), int(status.get("snapshot_index", 0)))
