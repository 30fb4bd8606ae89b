"""A trace of a tree of domains as a story, and as words for ``seatrial explore --trace``."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...errors import BadInput
from .story import Action, log
from .story import shown as shown_of_members
from .tree_scope import TreeScope
from .tree_space import NAMES

ALONE = {"beat", "wait"}                    # no node's
PAIRS = {"deliver", "up", "cut", "connect", "dial"}
OF_DOMAINS = {"exclude", "readmit"}
WHAT = {
    "deliver": "node {0} takes {2} from node {1}",
    "sync": "node {0}'s group write is on its disk",
    "tick": "node {0}'s timer rings",
    "propose": "a client asks node {0} to append an entry",
    "exclude": "an administrator asks node {0} to exclude domain {1}",
    "readmit": "an administrator asks node {0} to release domain {1}",
    "crash": "node {0} loses its power",
    "restart": "node {0} starts again",
    "cut": "node {0}'s connection to node {1} breaks",
    "connect": "node {0} connects to node {1} again",
    "dial": "node {0} dials node {1} of its parent",
    "up": "node {0} takes {2} from node {1} of its child",
    "down": "node {0} takes {2} from its parent",
    "break": "node {0}'s link to its parent breaks",
    "beat": "a heartbeat's time goes by",
    "wait": "more time goes by than any timer is set to",
}
LINK_TYPES = {14: "MARK", 40: "ATTACH", 41: "LINK_APPEND", 42: "LINK_ACK", 43: "LINK_SNAPSHOT",
              44: "LINK_REDIRECT", 45: "LINK_REFUSED", 48: "LINK_REPORT"}
CONCLUSIONS = {1: "silent", 2: "ready", 3: "lagging"}       # of a LINK_REPORT


def text(actions: Iterable[Action]) -> str:
    """Return a trace as words: ``wait, tick 1, deliver 2 1, ...``."""
    return ", ".join(name if name in ALONE else f"{name} {node} {other}"
                     if name in PAIRS | OF_DOMAINS else f"{name} {node}"
                     for name, node, other in actions)


def parse(words: str, scope: TreeScope) -> list[Action]:
    """Return the trace that these words mean. Raises BadInput."""
    actions = []
    for part in words.split(","):
        name, *rest = part.split() or [""]
        if name not in NAMES:
            raise BadInput(f"--trace: {part.strip()!r}: expected one of {', '.join(NAMES)}, and "
                           "the node's number")
        numbers = [int(word) if word.isdigit() else 0 for word in rest]
        expected = 0 if name in ALONE else 2 if name in PAIRS | OF_DOMAINS else 1
        if len(numbers) != expected or not all(
                1 <= number <= scope.nodes for number in numbers):
            raise BadInput(f"--trace: {part.strip()!r}: expected {expected} numbers, each of a "
                           f"node, 1 to {scope.nodes}")
        if name in OF_DOMAINS and not 2 <= numbers[1] <= len(scope.domains):
            raise BadInput(f"--trace: {part.strip()!r}: expected a child's number, 2 to "
                           f"{len(scope.domains)}")
        actions.append((name, numbers[0] if numbers else 1, numbers[-1] if numbers else 1))
    return actions


def lines(actions: Sequence[Action], played: Sequence[Any], begin: Sequence[Action]) -> list[str]:
    """Return the story of a trace that TreeSpace.play played; begin: what leads to the first state
    that is explored."""
    found = []
    for number, ((name, node, other), (message, told, violation)) in enumerate(
            zip(actions, played, strict=False), 1):
        if number == len(begin) + 1 and list(actions[:number - 1]) == list(begin):
            found.append("     that was the beginning; from here on anything could happen")
        what = WHAT[name].format(node, other, "the link's end" if message is None
                                 else shown(message))
        found.append(f"{number:3}. {what}")
        found += [f"     {after(step)}" for step in told]
        if violation is not None:
            found.append(f"     {violation}")
    return found


def after(step: dict[str, Any]) -> str:
    """Return what a node is after its step, and what it sends."""
    if not step["runs"]:
        return f"node {step['node']}: down; disk: term {step['disk_term']}, {log(step['disk'])}"
    words = [f"{step['role']}, term {step['term']}, {log(step['log'])}, commit {step['commit']}"]
    words.append(f"disk: term {step['disk_term']}, {log(step['disk'])}")
    words.append(f"mirror {log(step['mirror'])[4:]}, applied {step['applied']}"
                 + (", leased" if step["leased"] else ""))
    words += [f"to {whom(node)}: {shown(message)}" for node, message in step["sent"]]
    return f"node {step['node']}: {'; '.join(words)}"


def whom(node: int) -> str:
    """Return the receiver of what a node sent (tree_member.pxd)."""
    if node < 64:
        return str(node)
    return "its parent" if node == 64 else f"its child's node {node - 128}"


def shown(message: dict[str, Any]) -> str:
    """Return a message: its type, and the fields that say something."""
    kind = LINK_TYPES.get(message["type"])
    if kind is None:
        return shown_of_members(message)
    words = []
    if kind == "LINK_APPEND":
        words = [f"T {message['adopted']}", f"after {message['rindex']} of {message['rterm']}",
                 f"{message['count']} entries", f"mark {message['mark']}"]
        if message["lease"]:
            words.append(f"lease on {message['include']}")
    elif kind == "LINK_ACK":
        words = [f"T {message['adopted']}"]
        words += (["refused"] if message["flags"] & 1 else [])
        words.append(f"{message['rindex']} of {message['rterm']}")
    elif kind == "MARK":
        words = [f"T {message['adopted']}", f"{message['mark']} of {message['mark_term']}"]
    elif kind == "ATTACH":
        words = [f"T {message['adopted']}", f"end {message['rindex']} of {message['rterm']}"]
    elif kind == "LINK_REPORT":
        words = [f"domain {message['about']} {CONCLUSIONS.get(message['flags'], '?')}"]
    return f"{kind} ({', '.join(words)})" if words else kind
