"""What the shells of two members tell each other, past consensus; since protocol 2.

A node says it when its connection to another comes up, and again where there is news for one
that is no member:

* where it listens: who is asked by a node that it does not know yet must be able to answer (a
  configuration is in force at its members before all have heard of it; thesis, 4.1);
* who takes part, by a committed configuration: a node that was removed is sent no more entries,
  its own removal among them, and would stand for election for ever.

* the number of its data directory, and the one that it remembers of the other's (stores.py).

The body of a NOTICE frame is JSON; what a reader does not know it leaves out.
"""
from __future__ import annotations

import msgspec

from seatrial.core.codec import encode_notice
from seatrial.core.config import Address, parse_address
from seatrial.core.errors import ProtocolError

SINCE_PROTOCOL = 2


class Notice(msgspec.Struct, frozen=True):
    """One notice."""

    address: str
    config_index: int = 0           # 0: it knows of no committed configuration entry
    nodes: frozenset[int] = frozenset()
    store: str = ""                 # the sender's directory,
    yours: str = ""                 # and the receiver's, as the sender remembers it
    since: int = 0                  # what ``at`` was when it heard that
    at: int = 0                     # index of the newest committed configuration that it knows

    def encode(self) -> bytes:
        """Return the frame."""
        return encode_notice(msgspec.json.encode(self))

    @property
    def where(self) -> Address:
        """Return the address, parsed."""
        return parse_address(self.address)


def decode_notice(body: bytes) -> Notice:
    """Read a frame's body; ProtocolError for what is none."""
    try:
        notice = msgspec.json.decode(body, type=Notice)
        parse_address(notice.address)
    except (msgspec.DecodeError, ValueError) as error:
        raise ProtocolError(f"NOTICE: {error}") from None
    return notice
