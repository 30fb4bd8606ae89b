"""The handshake: both sides prove the key, whatever is wrong is refused with its reason."""
from __future__ import annotations

import pytest

from seatrial.core.errors import HandshakeRefused, OtherLife
from seatrial.core.handshake import (
    HELLO,
    PROOF_BYTES,
    PROTOCOL_MAX,
    VERDICT,
    ConnectorHandshake,
    Life,
    ListenerHandshake,
)

KEYS = {"client": b"c" * 16, "peer": b"p" * 16, "admin": b"a" * 16}


def listener(*, cluster: str = "lab", full: bool = False, nonce: bytes = b"L" * 32,
             keys: dict[str, bytes] = KEYS, protocol: int = PROTOCOL_MAX) -> ListenerHandshake:
    return ListenerHandshake(cluster, 1, keys, nonce, full=full, protocol_max=protocol)


def connector(role: str = "client", *, cluster: str = "lab", key: bytes | None = None,
              node: int = 0, expect: int = 0, nonce: bytes = b"C" * 32,
              protocol: int = PROTOCOL_MAX) -> ConnectorHandshake:
    return ConnectorHandshake(
        cluster, role, KEYS.get(role, b"k" * 16) if key is None else key, nonce, node=node,
        expect=expect, protocol_max=protocol)


def converse(ours: ConnectorHandshake, theirs: ListenerHandshake, size: int = 4096) -> None:
    """Let both talk, in pieces of ``size`` bytes, until neither has more to say."""
    to_listener, to_connector = ours.hello(), b""
    while to_listener or to_connector:
        piece, to_listener = to_listener[:size], to_listener[size:]
        if piece:
            try:
                to_connector += theirs.receive(piece)
            except HandshakeRefused:
                to_connector += theirs.farewell
        piece, to_connector = to_connector[:size], to_connector[size:]
        if piece:
            to_listener += ours.receive(piece)


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize(("role", "node"), [("client", 0), ("peer", 2), ("admin", 0)])
def test_holders_of_the_key_come_in(role: str, node: int, size: int) -> None:
    ours, theirs = connector(role, node=node, expect=1), listener()
    converse(ours, theirs, size)
    assert ours.done
    assert theirs.done
    assert (theirs.role, theirs.peer) == (role, node)
    assert (ours.node, ours.protocol, theirs.protocol) == (1, PROTOCOL_MAX, PROTOCOL_MAX)


@pytest.mark.parametrize(("old", "new"), [(1, 2), (2, 1), (1, 1)])
def test_builds_agree_on_the_highest_protocol_that_both_speak(old: int, new: int) -> None:
    ours, theirs = connector("peer", node=2, protocol=old), listener(protocol=new)
    converse(ours, theirs)
    assert (ours.protocol, theirs.protocol) == (1, 1)


def test_a_protocol_that_was_not_offered_is_not_taken() -> None:
    ours, theirs = connector("peer", node=2, protocol=1), listener()
    ours.receive(theirs.receive(ours.hello()))
    with pytest.raises(HandshakeRefused, match="it chose protocol 2, which was not offered"):
        ours.receive(VERDICT.pack(b"STRV", 0, 2))


def test_a_node_that_nobody_knows_comes_in_with_the_key() -> None:
    """It may be a member already, and this one not have heard of it yet (thesis, 4.1)."""
    ours, theirs = connector("peer", node=60000), listener()
    converse(ours, theirs)
    assert (theirs.done, theirs.peer) == (True, 60000)


def test_a_member_is_let_in_where_clients_have_taken_all_places() -> None:
    ours, theirs = connector("peer", node=2), listener(full=True)
    ours.receive(theirs.receive(ours.receive(theirs.receive(ours.hello()))))
    assert ours.done


def test_what_follows_the_handshake_at_once_is_kept() -> None:
    ours, theirs = connector(), listener()
    answer = theirs.receive(ours.hello())
    proof = ours.receive(answer)
    verdict = theirs.receive(proof + b"payload")
    assert theirs.leftover() == b"payload"
    assert theirs.leftover() == b""
    ours.receive(verdict + b"reply")
    assert ours.done
    assert ours.leftover() == b"reply"


@pytest.mark.parametrize(("ours", "theirs", "message"), [
    (connector(cluster="other"), listener(), "it belongs to another cluster"),
    (connector(), listener(full=True), "too many connections"),
    (connector("link"), listener(), "does not serve this role"),
    (connector("peer", node=0), listener(), "none that a member can have"),
    (connector("peer", node=65536), listener(), "none that a member can have"),
    (connector("peer", node=1), listener(), "this number is its own"),
    (connector(key=b"wrong" * 4), listener(), "does not hold the key that was given here"),
    (connector("client", key=KEYS["peer"]), listener(), "does not hold the key"),
    (connector(expect=2), listener(), "it is node 1, expected node 2"),
])
def test_a_refusal_reaches_the_connector_with_its_reason(
    ours: ConnectorHandshake, theirs: ListenerHandshake, message: str
) -> None:
    with pytest.raises(HandshakeRefused, match=message):
        converse(ours, theirs)
    assert not ours.done
    assert not theirs.done


def test_a_connector_that_claims_the_key_without_holding_it_is_refused() -> None:
    ours, theirs = connector(), listener()
    theirs.receive(ours.hello())
    with pytest.raises(HandshakeRefused, match="the key is not the right one"):
        theirs.receive(bytes(PROOF_BYTES))
    assert theirs.farewell
    with pytest.raises(HandshakeRefused, match="the key is not the right one"):
        ours.receive(theirs.farewell)


def test_the_listeners_own_proof_sent_back_proves_nothing() -> None:
    ours, theirs = connector(), listener()
    answer = theirs.receive(ours.hello())
    with pytest.raises(HandshakeRefused, match="the key is not the right one"):
        theirs.receive(answer[HELLO.size:])


def test_an_old_proof_is_worthless_to_a_new_nonce() -> None:
    ours, theirs = connector(), listener()
    old_proof = ours.receive(theirs.receive(ours.hello()))
    again = listener(nonce=b"M" * 32)
    again.receive(ours.hello())
    with pytest.raises(HandshakeRefused, match="the key is not the right one"):
        again.receive(old_proof)


def test_a_listener_that_lets_us_in_without_a_proof_is_not_believed() -> None:
    with pytest.raises(HandshakeRefused, match="without proving that it holds the key"):
        connector().receive(VERDICT.pack(b"STRV", 0, 1))


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request", b"\0" * 100])
def test_a_listener_of_another_protocol_is_recognised(answer: bytes) -> None:
    with pytest.raises(HandshakeRefused, match="not speak this protocol"):
        connector().receive(answer)


@pytest.mark.parametrize(("low", "high"), [(3, 9), (0, 0)])
def test_builds_without_a_common_protocol_part(low: int, high: int) -> None:
    hello = HELLO.pack(b"STRL", low, high, 1, 0, 0, 0, bytes(32), b"lab")
    with pytest.raises(HandshakeRefused, match=r"no common protocol \(this build speaks 1 to 2\)"):
        listener().receive(hello)


def test_a_newer_build_that_still_speaks_ours_is_welcome() -> None:
    theirs = listener()
    theirs.receive(HELLO.pack(b"STRL", 1, 7, 1, 0, 0, 0, bytes(32), b"lab"))
    assert theirs.protocol == PROTOCOL_MAX


@pytest.mark.parametrize("hello", [
    bytes(HELLO.size), b"GET / HTTP/1.1".ljust(HELLO.size),
    HELLO.pack(b"STRL", 1, 1, 1, 0, 0, 0, bytes(32), b"\xff\xfe"),
])
def test_what_is_no_hello_is_refused(hello: bytes) -> None:
    with pytest.raises(HandshakeRefused, match=r"its hello is not UTF-8|not a hello"):
        listener().receive(hello)


def test_a_second_hello_is_refused() -> None:
    ours, theirs = connector(), listener()
    answer = theirs.receive(ours.hello())
    ours.receive(answer)
    with pytest.raises(HandshakeRefused, match="it sent a second hello"):
        ours.receive(answer)


def test_members_of_two_lives_of_a_cluster_find_out_on_both_sides() -> None:
    """After both have proved that they hold the key; clients of any life are served."""
    old, new = Life(0, 0), Life(1, 77)
    for dialling, dialled in ((old, new), (new, old), (new, Life(1, 78))):
        near = ConnectorHandshake("lab", "peer", KEYS["peer"], bytes(32), node=2, life=dialling)
        far = ListenerHandshake("lab", 1, KEYS, bytes(range(32)), life=dialled)
        answer = far.receive(near.hello())
        with pytest.raises(OtherLife) as found:
            near.receive(answer)
        assert found.value.life == dialled
        unaware = ConnectorHandshake(
            "lab", "peer", KEYS["peer"], bytes(32), node=2, life=dialled)
        unaware._ours = near.hello()            # it does not look, as an older build
        far = ListenerHandshake("lab", 1, KEYS, bytes(range(32)), life=dialled)
        sent = unaware.receive(far.receive(unaware.hello()))
        with pytest.raises(OtherLife) as found:
            far.receive(sent)
        assert found.value.life == dialling
    client = ConnectorHandshake("lab", "client", KEYS["client"], bytes(32))
    far = ListenerHandshake("lab", 1, KEYS, bytes(range(32)), life=new)
    far.receive(client.receive(far.receive(client.hello())))
    assert far.done
