"""A trace as a story, and as words that can be given back to ``seatrial explore --trace``."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...errors import BadInput
from .space import NAMES

Action = tuple[str, int, int]       # what, at which node, and which other one it is about

PAIRS = {"deliver", "late", "toggle", "replace", "transfer", "cut", "connect"}
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
}
TYPES = {1: "VOTE", 2: "VOTE_REPLY", 3: "APPEND", 4: "APPEND_REPLY", 5: "HEARTBEAT",
         6: "HEARTBEAT_REPLY", 7: "PRE_VOTE", 8: "PRE_VOTE_REPLY", 9: "TIMEOUT_NOW",
         12: "SNAPSHOT", 13: "SNAPSHOT_REPLY"}
FLAGS = {1: "forced", 2: "granted", 4: "rejected", 8: "granted"}


def text(actions: Iterable[Action]) -> str:
    """Return a trace as words: ``timeout 1, deliver 2 1, ...``."""
    return ", ".join(f"{name} {node} {other}" if name in PAIRS else f"{name} {node}"
                     for name, node, other in actions)


def parse(words: str, nodes: int) -> list[Action]:
    """Return the trace that these words mean. Raises BadInput."""
    actions = []
    for part in words.split(","):
        name, *rest = part.split() or [""]
        if name not in NAMES:
            raise BadInput(f"--trace: {part.strip()!r}: expected one of {', '.join(NAMES)}, and "
                           "the node's number")
        numbers = [int(word) if word.isdigit() else 0 for word in rest]
        if (len(numbers) != (2 if name in PAIRS else 1) or max(numbers) > nodes
                or min(numbers) < 1):
            raise BadInput(f"--trace: {part.strip()!r}: expected the number of "
                           f"{'two nodes' if name in PAIRS else 'a node'}, 1 to {nodes}")
        if name in PAIRS - {"toggle", "replace"} and numbers[0] == numbers[1]:
            raise BadInput(f"--trace: {part.strip()!r}: expected two different nodes")
        actions.append((name, numbers[0], numbers[-1]))
    return actions


def lines(actions: Sequence[Action], played: Sequence[Any]) -> list[str]:
    """Return the story of a trace that Space.play played."""
    found = []
    for number, ((name, node, other), (message, told, violation)) in enumerate(
            zip(actions, played, strict=False), 1):
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
    sent = "".join(f"; to {node}: {shown(message)}" for node, message in step["sent"])
    follows = f" of {step['leader']}" if step["role"] == "follower" and step["leader"] else ""
    return (f"node {step['node']}: {step['role']}{follows}, term {step['term']}, vote "
            f"{step['vote'] or '-'}, {log(step['log'])}, commit {step['commit']}; {disk}{sent}")


def log(terms: Sequence[int]) -> str:
    """Return a log as the terms of its entries."""
    return f"log [{' '.join(map(str, terms))}]"


def shown(message: dict[str, Any]) -> str:
    """Return a message: its type, and the fields that say something."""
    kind = TYPES.get(message["type"], str(message["type"]))
    words = [f"term {message['term']}"]
    if message["flags"] & 1 and message["type"] in FLAGS:
        words.append(FLAGS[message["type"]])
    if kind in ("VOTE", "PRE_VOTE"):
        words.append(f"last entry {message['index']} of term {message['log_term']}")
    elif kind == "APPEND":
        words.append(f"after {message['index']} of term {message['log_term']}")
        words += [log(message["entries"]), f"commit {message['commit']}"]
    elif kind == "APPEND_REPLY":
        words.append(f"up to {message['index']}")
    elif kind == "HEARTBEAT":
        words.append(f"commit {message['commit']}")
    elif kind == "HEARTBEAT_REPLY":
        words.append(f"up to {message['log_term']}")
    return f"{kind} ({', '.join(words)})"
