"""The node's configuration: what is wrong is said in one line naming the file and the key."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from seatrial.core.config import Address, load, parse_address, read_key
from seatrial.core.errors import ConfigError
from seatrial.core.mutants import NAMES

GOOD: dict[str, Any] = {
    "cluster": "lab", "node": 2,
    "members": {1: "198.18.0.1:7000", 2: "[fd00::2]:7000", 3: "three.example:7000"},
    "listen": ["198.18.0.2:7000", "[fd00::2]:7000"], "data": "data",
    "keys": {"client": "client.key", "peer": "peer.key", "admin": "admin.key"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three keys."""
    for role in ("client", "peer", "admin"):
        (tmp_path / f"{role}.key").write_text(f"  the secret of {role}s\n")
    return tmp_path


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "node.yml"
    tree = {key: value for key, value in (GOOD | changes).items() if value is not None}
    path.write_text(yaml.safe_dump(tree))
    return path


def test_a_good_file_is_read_with_paths_from_its_own_folder(folder: Path) -> None:
    settings = load(write(folder, metrics="127.0.0.1:9100", log={"file": "node.log"}))
    assert settings.members[2] == Address("fd00::2", 7000)
    assert str(settings.members[2]) == "[fd00::2]:7000"
    assert settings.members[3] == Address("three.example", 7000)
    assert settings.listen[0] == Address("198.18.0.2", 7000)
    assert settings.metrics == Address("127.0.0.1", 9100)
    assert settings.data == folder / "data"
    assert settings.log_file == folder / "node.log"
    assert settings.keys["client"] == b"the secret of clients"
    assert settings.config.limits.max_value_bytes == 1 << 20


@pytest.mark.parametrize(("changes", "message"), [
    ({"node": 4}, r"node: 4 is not among members \[1, 2, 3\] .*join: true"),
    ({"join": True, "members": {2: "a:1"}}, "members: a node that joins must know another one"),
    ({"join": True, "node": 4, "listen": ["0.0.0.0:7000"]},
     "advertise: others can't reach 0.0.0.0:7000"),
    ({"advertise": "here"}, "advertise: 'here' is not host:port"),
    ({"priorities": {7: 1}}, r"priorities: 7 is not among members \[1, 2, 3\]"),
    ({"priorities": {1: 256}}, r"<= 255 - at `\$.priorities"),
    ({"protocol": 3}, r"<= 2 - at `\$.protocol`"),
    ({"node": "2"}, r"Expected `int`, got `str` - at `\$.node`"),
    ({"node": 0}, r">= 1 - at `\$.node`"),
    ({"node": None}, "missing required field `node`"),
    ({"cluster": ""}, r"at `\$.cluster`"),
    ({"nodes": 3}, "unknown field `nodes`"),
    ({"log": {"colour": "red"}}, r"unknown field `colour` - at `\$.log`"),
    ({"log": {"level": "loud"}}, r"at `\$.log.level`"),
    ({"limits": {"max_connections": -1}}, r"at `\$.limits.max_connections`"),
    ({"members": {}}, r"at `\$.members`"),
    ({"members": {1: "here", 2: "127.0.0.1:1"}}, "members.1: 'here' is not host:port"),
    ({"members": {1: "a:1", 2: "fd00::2:7000"}}, r"members.2: .* is not host:port"),
    ({"listen": []}, r"at `\$.listen`"),
    ({"listen": ["127.0.0.1:0"]}, r"listen\[0\]: .* port from 1 to 65535"),
    ({"listen": ["127.0.0.1:seven"]}, r"listen\[0\]: .* port from 1 to 65535"),
    ({"metrics": "127.0.0.1:70000"}, "metrics: .* port from 1 to 65535"),
    ({"election_ms": 150}, r"election_ms: 150 must be at least twice heartbeat_ms \(100\)"),
    ({"wal": {"segment_bytes": 65536}}, "wal.segment_bytes: 65536 must be at least"),
    ({"keys": {"client": "a", "peer": "b"}}, r"missing required field `admin` - at `\$.keys`"),
    ({"keys": GOOD["keys"] | {"peer": "none.key"}}, "can't read key file .*none.key: No such file"),
    ({"mutant": "no-such-bug"}, "mutant: 'no-such-bug' is not known"),
])
def test_what_is_wrong_is_named(folder: Path, changes: dict[str, Any], message: str) -> None:
    path = write(folder, **changes)
    with pytest.raises(ConfigError, match=message) as refusal:
        load(path)
    assert str(refusal.value).startswith(f"configuration {path}: ")
    assert "\n" not in str(refusal.value)
    assert refusal.value.exit_code == 254


def test_a_node_that_joins_is_no_member_of_the_first_configuration(folder: Path) -> None:
    settings = load(write(folder, node=4, join=True))
    assert sorted(settings.members) == [1, 2, 3]
    assert settings.address == Address("198.18.0.2", 7000)
    settings = load(write(folder, join=True, advertise="two.example:7000"))
    assert sorted(settings.members) == [1, 3]
    assert settings.address == Address("two.example", 7000)


@pytest.mark.skipif(bool(NAMES), reason="this build has planted bugs")
def test_the_normal_build_refuses_every_planted_bug(folder: Path) -> None:
    with pytest.raises(ConfigError, match="this build has none: this is the normal build"):
        load(write(folder, mutant="answer-before-commit"))


@pytest.mark.parametrize(("text", "message"), [
    ("a: [", "is not YAML"),
    ("\x00", "is not YAML"),
    ("- a list", "Expected `object`, got `array`"),
    ("", "Expected `object`, got `null`"),
    ("x" * 70_000, "is larger than 65536 bytes"),
    ("!!python/object/apply:os.getpid []", "is not YAML"),
])
def test_a_file_that_is_no_configuration_is_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "node.yml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)) as refusal:
        load(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"can't read configuration {tmp_path}/no.yml: No such"):
        load(tmp_path / "no.yml")


@pytest.mark.parametrize("size", [0, 15, 4097])
def test_a_key_of_the_wrong_size_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"k" * size)
    with pytest.raises(ConfigError, match=f"key file {path} holds {size} bytes, expected 16 to"):
        read_key(path)


@pytest.mark.parametrize("text", ["[::1]", "::1:80", "[::1:80", ":80", "host:", "[host]:80", ""])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_address(text)
