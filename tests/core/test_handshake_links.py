"""A domain's leader comes to its parent: with its domain's key, under an id that the tree knows."""
from __future__ import annotations

import pytest

from seatrial.core.errors import HandshakeRefused
from seatrial.core.handshake import ConnectorHandshake, ListenerHandshake

from .test_handshake import KEYS, converse

LINK = KEYS | {"link": b"l" * 16}
OWN = LINK | {"link 3": b"3" * 16}


def child(domain: int, key: bytes = LINK["link"], **options: str | int) -> ConnectorHandshake:
    return ConnectorHandshake(
        str(options.get("cluster", "lab")), "link", key, b"C" * 32, node=domain,
        expect=int(options.get("expect", 0)))


def parent(keys: dict[str, bytes] = OWN, *, full: bool = False) -> ListenerHandshake:
    return ListenerHandshake("lab", 7, keys, b"L" * 32, full=full, domains={2, 3})


@pytest.mark.parametrize("size", [1, 4096])
@pytest.mark.parametrize(("domain", "key"), [(2, LINK["link"]), (3, OWN["link 3"])])
def test_a_child_comes_in_with_the_key_of_its_domain(domain: int, key: bytes, size: int) -> None:
    ours, theirs = child(domain, key, expect=7), parent()
    converse(ours, theirs, size)
    assert ours.done
    assert (theirs.done, theirs.role, theirs.domain, theirs.peer) == (True, "link", domain, 0)


def test_a_child_comes_in_where_clients_have_taken_all_places() -> None:
    ours, theirs = child(2), parent(full=True)
    converse(ours, theirs)
    assert theirs.done


@pytest.mark.parametrize(("ours", "theirs", "message"), [
    (child(2, cluster="other"), parent(), "it belongs to another cluster"),
    (child(2), parent(KEYS), "it does not serve this role"),
    (child(2, OWN["link 3"]), parent(), "it does not hold the key that was given here"),
    (child(3), parent(), "it does not hold the key that was given here"),
    (child(2, KEYS["client"]), parent(), "it does not hold the key that was given here"),
    (child(4), parent(), "its tree has no such domain below another one"),
    (child(0), parent(), "its tree has no such domain below another one"),
    (child(2, expect=8), parent(), "it is node 7, expected node 8"),
])
def test_a_child_that_is_refused_learns_why(
    ours: ConnectorHandshake, theirs: ListenerHandshake, message: str
) -> None:
    with pytest.raises(HandshakeRefused, match=message):
        converse(ours, theirs)
    assert not ours.done
    assert not theirs.done


def test_only_who_proved_the_key_learns_what_the_tree_does_not_know() -> None:
    theirs = parent()
    theirs.receive(child(4).hello())
    with pytest.raises(HandshakeRefused, match="the key is not the right one"):
        theirs.receive(bytes(32))


def test_a_domain_of_its_own_key_alone_is_served() -> None:
    keys = {role: key for role, key in OWN.items() if role != "link"}
    theirs = parent(keys)
    converse(child(3, OWN["link 3"]), theirs)
    assert theirs.done
    with pytest.raises(HandshakeRefused, match="it does not serve this role"):
        converse(child(2), parent(keys))
