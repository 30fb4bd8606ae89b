"""Addresses and masks: decided before anything is made."""
from __future__ import annotations

import ipaddress

import pytest

from seatrial.harness.errors import BadInput
from seatrial.harness.hosts.network import hosts_file
from seatrial.harness.hosts.plan import MAX_HOSTS, MAX_POOLS, PREFIX4, PREFIX6, ULA, plan
from seatrial.harness.hosts.root import _worth_masking


def test_everyone_has_an_address_of_his_own_in_the_right_networks() -> None:
    full = plan("x", MAX_HOSTS, [f"p{i}" for i in range(MAX_POOLS)])
    networks = [ipaddress.ip_network(f"198.18.0.0/{PREFIX4}"),
                ipaddress.ip_network(f"{ULA}/{PREFIX6}")]
    addresses = [ipaddress.ip_address(ip) for who in full.everyone
                 for ip in (who.ipv4, who.ipv6) if ip]
    assert len(addresses) == len(set(addresses))
    assert all(any(ip in network for network in networks) for ip in addresses)
    assert len({who.name for who in full.everyone}) == 1 + MAX_HOSTS + MAX_POOLS


def test_the_hosts_file_names_everyone() -> None:
    small = plan("x", 2, ["clients"])
    lines = [line.split() for line in hosts_file(small, small.hosts[0]).splitlines()]
    assert ["198.18.1.2", "n2"] in lines
    assert ["198.18.2.1", "clients"] in lines
    assert ["127.0.1.1", "n1"] in lines


@pytest.mark.parametrize("name", ["n1", "controller", "a b", "", "UP", "twice"])
def test_a_pool_needs_a_name_of_its_own(name: str) -> None:
    with pytest.raises(BadInput, match=rf"^pools: '{name}': expected a name of"):
        plan("x", 1, ["twice", name])


def test_only_what_is_not_hidden_anyway_is_masked() -> None:
    given = ["/src/seatrial", "/src/seatrial/store", "/src/seatrial2", "/home/me/seatrial",
             "/root", "/usr", "/", "/data/store"]
    assert _worth_masking(given) == ["/data/store", "/src/seatrial", "/src/seatrial2"]
