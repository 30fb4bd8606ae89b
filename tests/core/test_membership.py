"""Configurations: values, steps and bytes. tests/judges holds etcd's own cases."""
from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seatrial.core.membership import BadConfiguration, Change, Configuration

NODES = st.integers(1, 6)
CHANGES = st.lists(st.builds(
    Change, st.sampled_from(["voter", "learner", "remove", "update"]), NODES,
    st.sampled_from(["", "10.0.0.7:7000", "[fd00::7]:7000"]), st.none() | st.integers(0, 255),
), max_size=5)


@st.composite
def configurations(draw: st.DrawFn) -> Configuration:
    """Configurations that steps can reach."""
    configuration = Configuration([draw(NODES)])
    for changes in draw(st.lists(CHANGES, max_size=4)):
        try:
            if configuration.joint:
                configuration = configuration.leave_joint()
            elif draw(st.booleans()):
                configuration = configuration.simple(changes)
            else:
                configuration = configuration.enter_joint(changes, draw(st.booleans()))
        except BadConfiguration:
            pass
    return configuration


@given(configurations())
def test_what_is_encoded_is_read_back(configuration: Configuration) -> None:
    again = Configuration.decode(configuration.encode())
    assert again == configuration
    assert hash(again) == hash(configuration)
    assert again.encode() == configuration.encode()


@given(configurations(), st.data())
def test_altered_bytes_are_another_configuration_or_refused(configuration: Configuration,
                                                            data: st.DataObject) -> None:
    good = configuration.encode()
    at = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[at] ^= data.draw(st.integers(1, 255))
    for payload in (bytes(bad), good[:at], good + bytes(bad[at:])):
        try:
            again = Configuration.decode(payload)
        except BadConfiguration:
            continue
        assert again != configuration
        assert again.encode() == payload, "two encodings of one configuration"


@given(configurations(), CHANGES)
def test_majorities_before_and_after_a_simple_step_overlap(configuration: Configuration,
                                                           changes: list[Change]) -> None:
    try:
        after = configuration.simple(changes)
    except BadConfiguration:
        return

    def majorities(voters: frozenset[int]) -> list[set[int]]:
        return [set(some) for some in itertools.combinations(voters, len(voters) // 2 + 1)]

    assert all(a & b for a in majorities(configuration.voters) for b in majorities(after.voters))


@given(configurations(), CHANGES)
def test_a_joint_step_keeps_the_old_voters_until_it_is_left(configuration: Configuration,
                                                            changes: list[Change]) -> None:
    try:
        joint = configuration.enter_joint(changes)
    except BadConfiguration:
        return
    assert joint.outgoing == configuration.voters
    assert joint.learners_next <= joint.outgoing
    after = joint.leave_joint()
    assert (after.voters, after.outgoing) == (joint.voters, frozenset())
    assert after.learners == joint.learners | joint.learners_next
    assert after.nodes <= joint.nodes


def test_an_address_stays_until_another_is_given() -> None:
    one = Configuration().simple([Change("voter", 1, "a:1", 7)])
    assert one.simple([Change("learner", 2, "b:2"), Change("voter", 1)]).details == {
        1: ("a:1", 7), 2: ("b:2", 0)}
    assert one.simple([Change("update", 1, "c:3", 9)]).details == {1: ("c:3", 9)}
    assert one.simple([Change("update", 5, "c:3", 9)]) == one


@pytest.mark.parametrize(("keywords", "text"), [
    ({"voters": [1], "learners": [1]}, "a learner votes"),
    ({"voters": [1], "learners_next": [2]}, "must be an outgoing voter"),
    ({"voters": [1], "auto_leave": True}, "nothing to leave"),
    ({"voters": range(1, 34)}, "33 nodes: at most 32"),
    ({"voters": [0]}, "node id 0"),
    ({"voters": [1], "details": {1: ("x" * 256, 0)}}, "256 bytes: at most 255"),
    ({"voters": [1], "details": {1: ("", 256)}}, "priority 256"),
])
def test_what_can_not_be_is_refused(keywords: dict, text: str) -> None:
    with pytest.raises(BadConfiguration, match=text):
        Configuration(**keywords)


def test_steps_that_may_not_be_taken_say_why() -> None:
    with pytest.raises(BadConfiguration, match="change 'voters': expected voter, learner"):
        Configuration([1]).simple([Change("voters", 2)])
    with pytest.raises(BadConfiguration, match="no voters"):
        Configuration().encode()


HEADER = bytes([1, 0, 1, 0, 0, 0, 0, 0])
NODE = bytes([7, 0, 0, 0, 1, 0, 0, 0])


@pytest.mark.parametrize(("payload", "text"), [
    (b"", "shorter than"),
    (bytes([2]) + HEADER[1:] + NODE, "a version of configurations"),
    (bytes([1, 2]) + HEADER[2:] + NODE, "flags"),
    (HEADER[:2] + bytes([33]) + HEADER[3:], "more than 32 nodes"),
    (HEADER + NODE[:-1], "cut off"),
    (HEADER + NODE[:6] + bytes([2, 0, 65]), "cut off"),
    (HEADER + bytes(4) + NODE[4:], "ascend"),
    (HEADER[:2] + bytes([2]) + HEADER[3:] + NODE + NODE, "ascend"),
    (HEADER + NODE[:4] + bytes([5]) + NODE[5:], "roles"),
    (HEADER + NODE[:4] + bytes([4]) + NODE[5:], "no voters"),
    (HEADER + NODE + b"x", "after the last node"),
    (bytes([1, 1]) + HEADER[2:] + NODE, "nothing to leave"),
    (HEADER + NODE[:6] + bytes([1, 0, 255]), "not UTF-8"),
])
def test_bytes_that_are_no_configuration_are_refused(payload: bytes, text: str) -> None:
    assert str(Configuration.decode(HEADER + NODE)) == "voters=(7)"
    with pytest.raises(BadConfiguration, match=text):
        Configuration.decode(payload)
