"""Proof that packets are dropped, or flow: judged from what the hosts' beacons saw. Pure.

The resident of every host numbers its beats. At each it publishes a *view* (``number``: the
beat; ``sent``: address -> newest number sent there; ``heard``: address -> newest number that
came from there) and then sends the number to every peer over every IP version. No clock is
compared between hosts; everything follows from the order of three readings:

1. ``first`` is read after the fault was put in place. Whatever a host numbers above its
   ``first.number`` it sends after that.
2. A later reading shows that the sender did send ``BEATS`` such numbers.
3. Another reading, ``BEATS`` beats of the receiver later, shows what the receiver heard of them.

Heard nothing: dropped (packets that take longer than these beats are taken for dropped). Heard
any: they flow. So a rule that isn't there, or covers one IP version only, is told by the first
beacon that gets through.
"""
from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

BEATS = 2

Pair = tuple[str, str]
"""(receiver, sender)"""

Addresses = Mapping[str, tuple[str, ...]]
"""Host name -> its addresses, the same IP version at the same place."""


class View(msgspec.Struct, frozen=True):
    """What one host's resident has sent and heard."""

    number: int
    sent: dict[str, int]
    heard: dict[str, int]


Views = Mapping[str, View]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the readings say so far: proven, refuted (``final``, not proven), or not yet."""

    proven: bool
    final: bool
    reason: str = ""


PROVEN = Verdict(proven=True, final=True)


@dataclass(slots=True)
class Probe:
    """Judges successive readings against what should be silent and what should flow."""

    addresses: Addresses
    silent: Collection[Pair]
    _first: Views = field(default_factory=dict)
    _sent: dict[tuple[str, str], int] = field(default_factory=dict)
    """(sender, receiver's address) -> the receiver's beat at which enough was seen as sent."""

    def add(self, views: Views, flowing: Collection[Pair]) -> Verdict:
        """Judge with one more reading of every host's view, and what should flow by now."""
        if not self._first:
            self._first = views
            return Verdict(proven=False, final=False, reason="no second reading of the beacons")
        verdicts = [*(self._silent(views, *link) for pair in self.silent
                      for link in self._links(pair)),
                    *(self._flowing(views, *link) for pair in flowing
                      for link in self._links(pair))]
        open_ones = [verdict for verdict in verdicts if not verdict.proven]
        return min(open_ones, key=lambda verdict: not verdict.final, default=PROVEN)

    def _links(self, pair: Pair) -> Iterator[tuple[str, str, str, str]]:
        """Yield (receiver, its address, sender, its address) for each common IP version."""
        receiver, sender = pair
        for to, source in zip(self.addresses[receiver], self.addresses[sender], strict=False):
            yield receiver, to, sender, source

    def _silent(self, views: Views, receiver: str, to: str, sender: str, source: str) -> Verdict:
        after = self._first[sender].number
        if views[receiver].heard.get(source, 0) > after:
            return Verdict(proven=False, final=True,
                           reason=f"{receiver} still hears {sender} at {source}")
        if views[sender].sent.get(to, 0) >= after + BEATS:
            beat = self._sent.setdefault((sender, to), views[receiver].number)
            if views[receiver].number >= beat + BEATS:
                return PROVEN
        return Verdict(proven=False, final=False,
                       reason=f"{sender} has not sent enough to {receiver} at {to}")

    def _flowing(self, views: Views, receiver: str, to: str, sender: str, source: str) -> Verdict:
        if views[receiver].heard.get(source, 0) > self._first[sender].number:
            return PROVEN
        return Verdict(proven=False, final=False,
                       reason=f"{receiver} doesn't hear {sender} at {source}")
