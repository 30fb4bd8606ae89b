"""The tree as text, a line a domain, in the usual notation: nodes, slash, direct children.

    A(3/2)     root         n1 to n3    policy any 1 of [B, C]
    +- B(3)    sync, block  n4 to n6    at most 1,000 entries behind, else throttle
    '- C(3/1)  sync         n7 to n9
       '- D(1) async        n10

With the state of a running tree the nodes give way to leaders, links and lags:

    A(3/1)     root            leader n2, term 4, 3 of 3 up  applied 1,204
    '- B(3)    sync, included  leader n6, term 2, 2 of 3 up  streaming, applied 1,204, ...

What is not known is not drawn.
"""
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from .policy import ALL
from .status import OLD_S, DomainStatus, Lag
from .tree import Domain, MaxLag, Node, Pool, Tree

TEE, ELBOW, BAR, BLANK = "├─ ", "└─ ", "│  ", "   "
GAP = "  "
NUMBERED = re.compile(r"(.*?)([0-9]+)")


def draw(tree: Tree, status: Mapping[str, DomainStatus] | None = None) -> str:
    """Return the tree, its pools and timers; with ``status`` (by domain's name) its state."""
    rows = [(twig + label(tree, domain), *cells(tree, domain, status))
            for twig, domain in twigs(tree)]
    lines = aligned(rows)
    if status is None:
        lines += [f"pool {pool.name} -> {pool.domain}{pool_words(pool)}" for pool in tree.pools]
        if any(domain.mode == "sync" for domain in tree.domains):
            lines.append(f"lease {tree.timers.lease:g} s, promise {tree.timers.promise:g} s, "
                         f"excluded after {tree.timers.exclude_after:g} s of silence, clocks "
                         f"drift by at most {100 * tree.timers.drift:g} %")
    return "\n".join(lines)


def notation(nodes: int, children: int) -> str:
    """Return how many nodes, and if there are any, slash, how many direct children."""
    return f"{nodes}/{children}" if children else str(nodes)


def label(tree: Tree, domain: Domain) -> str:
    """Return a domain's name and, in brackets, its size."""
    size = notation(len(domain.nodes), len(tree.children(domain.name)))
    return f"{domain.name}({size})"


def twigs(tree: Tree) -> Iterator[tuple[str, Domain]]:
    """Yield each domain with what is drawn before its name."""
    def below(domain: Domain, before: str) -> Iterator[tuple[str, Domain]]:
        children = tree.children(domain.name)
        for child in children:
            last = child is children[-1]
            yield before + (ELBOW if last else TEE), child
            yield from below(child, before + (BLANK if last else BAR))

    yield "", tree.root
    yield from below(tree.root, "")


def cells(tree: Tree, domain: Domain,
          status: Mapping[str, DomainStatus] | None) -> tuple[str, ...]:
    """Return the columns beside a domain's name."""
    words = [] if domain.policy == ALL else [f"policy {domain.policy}"]
    if status is not None:
        found = status.get(domain.name)
        return (", ".join([mode(domain) + counted(found), *words]), led(domain, found),
                state(found))
    if domain.max_lag is not None:
        words.append(bound(domain.max_lag))
    if domain.readmit_throttle:
        words.append("writers are throttled until it can be readmitted")
    if domain.promotion == "automatic":
        words.append("promoted automatically")
    return mode(domain), hosts(domain.nodes), "; ".join(words)


def mode(domain: Domain) -> str:
    """Return how a domain follows."""
    if domain.mode is None:
        return "root"
    return f"{domain.mode}, block" if domain.exclusion == "block" else domain.mode


def hosts(nodes: Sequence[Node]) -> str:
    """Return the hosts; three or more in a row by the first and the last."""
    names = [node.name for node in nodes]
    found = [NUMBERED.fullmatch(name) for name in names]
    numbers = [int(match[2]) for match in found if match and match[2] == str(int(match[2]))]
    stems = {match[1] for match in found if match}
    row = list(range(numbers[0], numbers[0] + len(names))) if numbers else []
    together = len(names) > 2 and len(stems) == 1 and numbers == row
    words = f"{names[0]} to {names[-1]}" if together else " ".join(names)
    spares = sum(node.spare for node in nodes)
    return f"{words} ({spares} spare)" if spares else words


def bound(given: MaxLag) -> str:
    """Return a bound in words."""
    return f"at most {far(given.entries, given.bytes, given.time, ' or ')} behind, " \
           f"else {given.then}; settles in {given.settle:g} s"


def far(entries: int | None, size: int | None, time: float | None, between: str) -> str:
    """Return how far behind something is, as far as that is known."""
    return between.join((
        *([f"{entries:,} entries"] if entries is not None else ()),
        *([f"{size:,} bytes"] if size is not None else ()),
        *([f"{time:g} s"] if time is not None else ())))


def counted(found: DomainStatus | None) -> str:
    """Return whether a sync domain counts."""
    if found is None or found.included is None:
        return ""
    if found.included:
        return ", included"
    return ", excluded by an operator" if found.held else ", excluded"


def led(domain: Domain, found: DomainStatus | None) -> str:
    """Return who leads a domain, and how many of its nodes answer."""
    if found is None:
        return "not known"
    words = f"leader {found.leader}, term {found.term}" if found.leader else "no leader"
    return f"{words}, {found.answering} of {len(domain.nodes)} up"


def state(found: DomainStatus | None) -> str:
    """Return a link's state and lag."""
    if found is None:
        return ""
    words: list[str] = [found.link] if found.link is not None else []
    if found.rindex is not None:
        words.append(f"applied {found.rindex:,}")
    if found.lag != Lag():
        time = None if found.lag.time is None else round(found.lag.time, 3)
        words.append(f"{far(found.lag.entries, found.lag.bytes, time, ', ')} behind")
    if found.stuck:
        words.append("can't be readmitted: it does not catch up")
    if found.told is not None and found.told >= OLD_S:
        words.append(f"parent silent for {found.told:.0f} s")
    return ", ".join(words)


def pool_words(pool: Pool) -> str:
    """Return what a pool does and where it comes from."""
    words = [] if pool.does == "all" else [f" ({pool.does})"]
    words += [f" from {', '.join(pool.addresses)}"] if pool.addresses else []
    return "".join(words)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows as lines with columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows]
