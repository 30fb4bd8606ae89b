"""A trace as a story, and as words that can be given back to ``seatrial explore --trace``."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...errors import BadInput
from .scope import Scope
from .tree_scope import TreeScope

Action = tuple[str, int, int]       # what, at which node, and which other one it is about

ALONE = {"beat", "wait"}            # no node's
PAIRS = {"deliver", "late", "transfer", "cut", "connect", "up", "dial"}     # of different nodes
ABOUT = PAIRS | {"toggle", "replace"}                                       # the same, or not
OF_DOMAINS = {"exclude", "readmit"}
WHAT = {
    "deliver": "node {0} takes {2} from node {1}",
    "late": "an election timeout after it heard from a leader, node {0} takes {2} from node {1}",
    "sync": "node {0}'s group write is on its disk",
    "timeout": "node {0}'s election timer rings",
    "depose": "node {0} has heard from no majority for two election timeouts",
    "heartbeat": "node {0}'s heartbeat timer rings",
    "propose": "a client asks node {0} to append an entry",
    "toggle": "an administrator asks node {0} to add node {1}, or to remove it",
    "replace": "an administrator asks node {0} to put a spare in node {1}'s place",
    "transfer": "an administrator asks node {0} to let node {1} lead",
    "snapshot": "node {0} replaces what it has committed by a snapshot",
    "crash": "node {0} loses its power",
    "restart": "node {0} starts again",
    "cut": "node {0}'s connection to node {1} breaks",
    "connect": "node {0} connects to node {1} again",
    "tick": "node {0}'s timer rings",
    "exclude": "an administrator asks node {0} to exclude domain {1}",
    "readmit": "an administrator asks node {0} to release domain {1}",
    "dial": "node {0} dials node {1} of its parent",
    "up": "node {0} takes {2} from node {1} of its child",
    "down": "node {0} takes {2} from its parent",
    "break": "node {0}'s link to its parent breaks",
    "beat": "a heartbeat's time goes by",
    "wait": "more time goes by than any timer is set to",
}
TYPES = {1: "VOTE", 2: "VOTE_REPLY", 3: "APPEND", 4: "APPEND_REPLY", 5: "HEARTBEAT",
         6: "HEARTBEAT_REPLY", 7: "PRE_VOTE", 8: "PRE_VOTE_REPLY", 9: "TIMEOUT_NOW",
         12: "SNAPSHOT", 13: "SNAPSHOT_REPLY"}
LINK_TYPES = {14: "MARK", 40: "ATTACH", 41: "LINK_APPEND", 42: "LINK_ACK", 43: "LINK_SNAPSHOT",
              44: "LINK_REDIRECT", 45: "LINK_REFUSED", 48: "LINK_REPORT", 255: "the link's end"}
FLAGS = {1: "forced", 2: "granted", 4: "rejected", 8: "granted", 42: "refused"}
CONCLUSIONS = {1: "silent", 2: "ready", 3: "lagging"}       # of a LINK_REPORT
FIELDS = {      # that say something, beside the term, or T
    "VOTE": "last entry {index} of term {log_term}",
    "PRE_VOTE": "last entry {index} of term {log_term}",
    "APPEND": "after {index} of term {log_term}, {log}, commit {commit}",
    "APPEND_REPLY": "up to {index}",
    "HEARTBEAT": "commit {commit}",
    "HEARTBEAT_REPLY": "up to {log_term}",
    "MARK": "{mark} of {mark_term}",
    "ATTACH": "end {rindex} of {rterm}",
    "LINK_APPEND": "after {rindex} of {rterm}, {count} entries, mark {mark}",
    "LINK_ACK": "{rindex} of {rterm}",
}


def text(actions: Iterable[Action]) -> str:
    """Return a trace as words: ``timeout 1, deliver 2 1, ...``."""
    return ", ".join(name if name in ALONE else f"{name} {node} {other}"
                     if name in ABOUT | OF_DOMAINS else f"{name} {node}"
                     for name, node, other in actions)


def parse(words: str, scope: Scope | TreeScope) -> list[Action]:
    """Return the trace that these words mean. Raises BadInput."""
    actions = []
    for part in words.split(","):
        name, *rest = part.split() or [""]
        if name not in scope.ACTIONS:
            raise BadInput(f"--trace: {part.strip()!r}: expected one of "
                           f"{', '.join(scope.ACTIONS)}, and the node's number")
        numbers = [int(word) if word.isdigit() else 0 for word in rest]
        expected, largest = numbers_of(name, scope)
        if len(numbers) != len(largest) or not all(
                1 <= number <= most for number, most in zip(numbers, largest, strict=True)):
            raise BadInput(f"--trace: {part.strip()!r}: expected {expected}")
        if name in OF_DOMAINS and numbers[1] == 1:
            raise BadInput(f"--trace: {part.strip()!r}: expected a child's number, 2 to "
                           f"{largest[1]}")
        if name in PAIRS and numbers[0] == numbers[1]:
            raise BadInput(f"--trace: {part.strip()!r}: expected two different nodes")
        actions.append((name, numbers[0] if numbers else 1, numbers[-1] if numbers else 1))
    return actions


def numbers_of(name: str, scope: Scope | TreeScope) -> tuple[str, list[int]]:
    """Return what an action's numbers are, and the largest that each may be."""
    if name in ALONE:
        return "no number", []
    if name in OF_DOMAINS:
        domains = len(scope.members())
        return (f"the numbers of a node, 1 to {scope.nodes}, and of a child, 2 to {domains}",
                [scope.nodes, domains])
    if name in ABOUT:
        return f"the number of two nodes, 1 to {scope.nodes}", [scope.nodes] * 2
    return f"the number of a node, 1 to {scope.nodes}", [scope.nodes]


def lines(actions: Sequence[Action], played: Sequence[Any], begin: Sequence[Action]) -> list[str]:
    """Return the story of a trace that Cluster.play played; begin: what leads to the first state
    that is explored."""
    found = []
    for number, ((name, node, other), (message, told, violation)) in enumerate(
            zip(actions, played, strict=False), 1):
        if begin and list(actions[:number - 1]) == list(begin):
            found.append("     that was the beginning; from here on anything could happen")
        what = WHAT[name].format(node, other, "nothing" if message is None else shown(message))
        found.append(f"{number:3}. {what}")
        found += [f"     {after(step)}" for step in told]
        if violation is not None:
            found.append(f"     {violation}")
    return found


def after(step: dict[str, Any]) -> str:
    """Return what a node is after its step, and what it sends."""
    disk = f"disk: term {step['disk_term']}, vote {step['disk_vote'] or '-'}, {log(step['disk'])}"
    if not step["runs"]:
        return f"node {step['node']}: down; {disk}"
    follows = f" of {step['leader']}" if step["role"] == "follower" and step["leader"] else ""
    words = [f"{step['role']}{follows}, term {step['term']}, vote {step['vote'] or '-'}, "
             f"{log(step['log'])}, commit {step['commit']}", disk]
    if "mirror" in step:
        words.append(f"mirror {log(step['mirror'])[4:]}, applied {step['applied']}"
                     + (", leased" if step["leased"] else ""))
    words += [f"to {whom(node)}: {shown(message)}" for node, message in step["sent"]]
    return f"node {step['node']}: {'; '.join(words)}"


def whom(node: int) -> str:
    """Return the receiver of what a node sent (tree_member.pxd)."""
    if node < 64:
        return str(node)
    return "its parent" if node == 64 else f"its child's node {node - 128}"


def log(terms: Sequence[int]) -> str:
    """Return a log as the terms of its entries."""
    return f"log [{' '.join(map(str, terms))}]"


def shown(message: dict[str, Any]) -> str:
    """Return a message: its type, and the fields that say something."""
    number = message["type"]
    kind = (TYPES | LINK_TYPES).get(number, str(number))
    words = []
    if number not in LINK_TYPES:
        words.append(f"term {message['term']}")
    elif kind in FIELDS:
        words.append(f"T {message['adopted']}")
    if message["flags"] & 1 and number in FLAGS:
        words.append(FLAGS[number])
    if kind in FIELDS:
        words.append(FIELDS[kind].format(**message, log=log(message["entries"])))
    if kind == "LINK_APPEND" and message["lease"]:
        words.append(f"lease on {message['include']}")
    if kind == "LINK_REPORT":
        words.append(f"domain {message['about']} {CONCLUSIONS.get(message['flags'], '?')}")
    return f"{kind} ({', '.join(words)})" if words else kind
