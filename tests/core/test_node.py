"""Real nodes as processes: they elect, keep promises, stop well, and say what is wrong."""
from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seatrial.core.client import CasMismatch, Client, NotLeader, Refused, Unknown
from seatrial.core.codec import OPS, decode_response, encode_request, split_frames
from seatrial.core.errors import HandshakeRefused
from seatrial.core.handshake import HELLO, ConnectorHandshake
from seatrial.core.recovery import Frame, list_segments, recover

from .nodes import CLUSTER, PATIENCE_S, Nodes, free_ports, run_async, until


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Three nodes, not yet started; none is left running."""
    cluster = Nodes(tmp_path / "nodes")
    yield cluster
    cluster.stop()


@pytest.fixture
def single(tmp_path: Path) -> Iterator[Nodes]:
    """A cluster of one node, which leads it as soon as its election timeout passes."""
    cluster = Nodes(tmp_path / "nodes", count=1)
    yield cluster
    cluster.stop()


def test_three_nodes_elect_a_leader_and_do_every_operation(nodes: Nodes) -> None:
    async def story() -> None:
        client = await nodes.client()
        assert (await client.read(b"k")).value is None
        await client.write(b"k", b"1")
        assert (await client.read(b"k")).value == b"1"
        await client.cas(b"k", b"1", b"2")
        with pytest.raises(CasMismatch) as mismatch:
            await client.cas(b"k", b"1", b"3")
        assert mismatch.value.seen == b"2"
        with pytest.raises(CasMismatch) as mismatch:
            await client.cas(b"absent", b"1", b"3")
        assert mismatch.value.seen is None
        await client.cas(b"absent", None, b"made")
        await client.append(b"k", b"3")
        answer = await client.read(b"k")
        assert answer.value == b"23"
        assert answer.node in nodes.ids
        assert answer.term >= 1
        await client.delete(b"k")
        assert (await client.read(b"k")).value is None
        with pytest.raises(Refused, match="too large"):
            await client.write(b"k", bytes((1 << 20) + 1))
        await client.close()

    nodes.start()
    run_async(story())


@pytest.mark.parametrize("inline_bytes", [0, 1 << 20])
def test_many_writes_at_once_are_all_kept_by_all_nodes(nodes: Nodes, inline_bytes: int) -> None:
    async def story() -> None:
        client = await nodes.client()
        await asyncio.gather(*(client.write(b"k%d" % i, b"v%d" % i) for i in range(300)))
        answers = await asyncio.gather(*(client.read(b"k%d" % i) for i in range(300)))
        assert [answer.value for answer in answers] == [b"v%d" % i for i in range(300)]
        commit = (await client.status())["commit"]
        for n in nodes.ids:
            while (await client.status(n))["applied"] < commit:
                await asyncio.sleep(0.01)
        await client.close()

    for n in nodes.ids:
        nodes.configure(n, wal={"segment_bytes": 4 << 20, "inline_bytes": inline_bytes})
    nodes.start()
    run_async(story())
    for n in nodes.ids:
        nodes.signal(n, signal.SIGTERM)
        assert nodes.ended(n) == (0, "")
    kept = [recover(nodes.folder / f"data{n}" / "wal") for n in nodes.ids]
    shortest = min(len(found.records) for found in kept)
    assert len({found.records[:shortest] for found in kept}) == 1


def test_the_leader_killed_is_replaced_and_comes_back_with_its_log(nodes: Nodes) -> None:
    async def story() -> None:
        client = await nodes.client()
        leader = await nodes.leader(client)
        for i in range(20):
            await client.write(b"k", b"%d" % i)
        nodes.kill(leader)
        answer = await client.write(b"k", b"after")
        assert answer.node != leader
        nodes.start(leader)
        nodes.started(leader, times=2)
        other = next(n for n in nodes.ids if n not in (leader, answer.node))
        nodes.kill(other)               # now nothing commits without the old leader
        assert (await client.read(b"k")).value == b"after"
        await client.write(b"k", b"with the old leader's vote")
        await client.close()

    nodes.start()
    run_async(story())
    leader_log = [line for n in nodes.ids for line in nodes.events(n, "leader")]
    assert len({line["term"] for line in leader_log}) >= 2


def test_all_killed_and_started_again_have_lost_nothing(nodes: Nodes) -> None:
    async def fill() -> None:
        client = await nodes.client()
        for i in range(30):
            await client.append(b"list", b"%d," % i)
        await client.close()

    async def look() -> None:
        client = await nodes.client()
        assert (await client.read(b"list")).value == b"".join(b"%d," % i for i in range(30))
        await client.close()

    nodes.start()
    run_async(fill())
    nodes.kill()
    nodes.start()
    run_async(look())


def test_a_stopped_leader_is_replaced_and_its_clients_move_on(nodes: Nodes) -> None:
    async def story() -> None:
        client = await nodes.client()
        leader = await nodes.leader(client)
        nodes.signal(leader, signal.SIGSTOP)
        answer = await client.write(b"k", b"without it")
        assert answer.node != leader
        nodes.signal(leader, signal.SIGCONT)
        again = await nodes.client(prefer=leader)
        assert (await again.read(b"k")).value == b"without it"
        await again.close()
        await client.close()

    nodes.start()
    run_async(story())


def test_without_a_majority_nothing_is_promised(nodes: Nodes) -> None:
    async def story() -> None:
        client = await nodes.client()
        leader = await nodes.leader(client)
        nodes.kill(*(n for n in nodes.ids if n != leader))
        with pytest.raises(Unknown):
            await client.write(b"k", b"v", timeout_s=1)     # the leader still believes it is
        with pytest.raises(Refused):
            await client.read(b"k", timeout_s=3)
        with pytest.raises(NotLeader):
            await client.write(b"k", b"v", timeout_s=3)     # it has found out that it is not
        await client.close()

    nodes.start()
    run_async(story())


def test_sigterm_ends_a_node_in_good_order(single: Nodes) -> None:
    single.start()
    single.started(1)
    single.signal(1, signal.SIGTERM)
    assert single.ended(1) == (0, "")
    events = [line["event"] for line in single.events(1)]
    assert events[0] == "started"
    assert events[-1] == "stopped"
    assert single.command("verify", single.folder / "data1").returncode == 0


def test_a_single_node_is_its_own_majority(single: Nodes) -> None:
    async def story() -> None:
        client = await single.client()
        for i in range(10):
            await client.write(b"k", b"%d" % i)
        assert (await client.read(b"k")).value == b"9"
        await client.close()

    single.start()
    run_async(story())


def test_nodes_speak_ipv6(tmp_path: Path) -> None:
    async def story(nodes: Nodes) -> None:
        client = await nodes.client(local_addr=["127.0.0.1", "::1"])
        await client.write(b"k", b"1")
        await client.close()

    nodes = Nodes(tmp_path / "nodes", host="::1")
    try:
        nodes.start()
        run_async(story(nodes))
    finally:
        nodes.stop()


def test_a_client_binds_to_the_local_address_it_is_given(single: Nodes) -> None:
    async def story() -> None:
        client = await single.client(local_addr="127.7.7.7")
        await client.write(b"k", b"1")
        await client.close()

    single.start()
    run_async(story())
    assert any(line["address"].startswith("127.7.7.7:") for line in single.events(1, "connected"))


def test_a_local_address_of_the_wrong_family_reaches_nobody(single: Nodes) -> None:
    async def story() -> None:
        with pytest.raises(Refused):
            await single.client(local_addr="::1", timeout_s=0.5)

    single.start()
    run_async(story())


def test_a_cancelled_write_ends_at_once_and_the_client_goes_on(single: Nodes) -> None:
    async def story() -> None:
        client = await single.client()
        await client.write(b"k", b"1")
        single.signal(1, signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.write(b"k", b"2")
        single.signal(1, signal.SIGCONT)
        await client.write(b"k", b"3")
        assert (await client.read(b"k")).value == b"3"
        await client.close()
        with pytest.raises(Refused, match="the client is closed"):
            await client.read(b"k")

    single.start()
    run_async(story())


def test_a_client_with_the_wrong_key_is_refused_by_name(single: Nodes) -> None:
    async def story() -> None:
        with pytest.raises(HandshakeRefused, match=r"^127.0.0.1:\d+: it does not hold the key"):
            await single.client(key=b"not the right key at all")
        with pytest.raises(HandshakeRefused, match="another cluster"):
            await single.client(cluster="elsewhere")

    single.start()
    single.started(1)
    run_async(story())


def test_members_with_different_keys_do_not_join(nodes: Nodes) -> None:
    (nodes.folder / "stranger.key").write_text("the key of another peer group")
    nodes.configure(3, keys={"client": "client.key", "peer": "stranger.key", "admin": "admin.key"})
    nodes.start()
    until("node 3 is refused", lambda: any(
        "it does not hold the key" in line["reason"]
        for line in nodes.events(3, "link-refused")))
    until("nodes 1 and 2 elect", lambda: any(
        line["leader"] for n in (1, 2) for line in nodes.events(n, "leader")))
    assert all(line["leader"] == 0 for line in nodes.events(3, "leader"))


def test_a_member_at_the_wrong_address_is_noticed(nodes: Nodes) -> None:
    swapped = {1: nodes.members[1], 2: nodes.members[3], 3: nodes.members[2]}
    nodes.configure(1, members=swapped)
    nodes.start()
    for expected, there in ((2, 3), (3, 2)):
        until("node 1 notices", lambda text=f"it is node {there}, expected node {expected}": any(
            line["reason"] == text for line in nodes.events(1, "link-refused")))


def raw(nodes: Nodes, role: str = "client") -> socket.socket:
    """Return a socket whose handshake is done."""
    host, _, port = nodes.members[1].rpartition(":")
    sock = socket.create_connection((host, int(port)), PATIENCE_S)
    handshake = ConnectorHandshake(
        CLUSTER, role, f"a secret for {role}s".encode(), os.urandom(32))
    try:
        sock.sendall(handshake.hello())
        while not handshake.done:
            sock.sendall(handshake.receive(sock.recv(4096)))
    except BaseException:
        sock.close()
        raise
    return sock


@pytest.mark.parametrize("garbage", [
    b"GET / HTTP/1.1\r\n\r\n".ljust(HELLO.size), bytes(4096), b"STRL".ljust(HELLO.size, b"\xff"),
])
def test_what_is_no_hello_is_refused(single: Nodes, garbage: bytes) -> None:
    single.start()
    single.started(1)
    host, _, port = single.members[1].rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as sock:
        sock.sendall(garbage)
        ended = b"."
        while ended:
            try:
                ended = sock.recv(4096)
            except ConnectionResetError:
                break
    until("it is logged", lambda: single.events(1, "connection-refused"))


def test_a_connection_that_says_nothing_is_closed(single: Nodes) -> None:
    single.configure(1, limits={"handshake_ms": 50})
    single.start()
    single.started(1)
    host, _, port = single.members[1].rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as sock:
        assert sock.recv(1) == b""
    refused = until("it is logged", lambda: single.events(1, "connection-refused"))
    assert refused[0]["reason"] == "no hello in time"


def test_connections_beyond_the_limit_are_refused(single: Nodes) -> None:
    single.configure(1, limits={"max_connections": 2})
    single.start()
    single.started(1)
    held = [raw(single), raw(single)]
    with pytest.raises(HandshakeRefused, match="too many connections"):
        raw(single)
    held.pop().close()
    until("the closed one is noticed", lambda: single.events(1, "disconnected"))
    held.append(raw(single))
    for sock in held:
        sock.close()


@pytest.mark.parametrize("frame", [
    b"\xff" * 64,
    bytes(64),
    encode_request(1, 0, 0, 1, b"key")[:-1] + b"\xff",
    (1 << 31).to_bytes(4, "little") + bytes(60),
])
def test_a_client_that_breaks_the_protocol_loses_its_connection_only(
    single: Nodes, frame: bytes
) -> None:
    async def works() -> None:
        client = await single.client()
        await client.write(b"k", b"1")
        await client.close()

    single.start()
    single.started(1)
    with raw(single) as sock:
        sock.sendall(frame)
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(4096) == b""
    run_async(works())
    assert single.events(1, "connection-closed")


def test_status_is_shown_to_people_and_programs(single: Nodes) -> None:
    single.start()
    config = single.folder / "node1.yml"
    until("it leads", lambda: "leader in term" in single.command(
        "status", "--config", config).stdout)
    shown = single.command(
        "status", "--address", single.members[1], "--key", single.folder / "admin.key",
        "--cluster", CLUSTER, "--json")
    assert shown.returncode == 0
    status = json.loads(shown.stdout)
    assert (status["node"], status["role"], status["cluster"]) == (1, "leader", CLUSTER)


@pytest.mark.parametrize(("change", "message", "code"), [
    ({"--key": "client.key"}, "does not hold the key", 255),
    ({"--key": "nowhere.key"}, "can't read key file .*nowhere.key: No such file", 254),
    ({"--cluster": "other"}, "it belongs to another cluster", 255),
    ({"--address": "127.0.0.1:1"}, "can't reach 127.0.0.1:1: Connection refused", 255),
    ({"--address": "nonsense"}, "--address: 'nonsense' is not host:port", 254),
])
def test_a_status_that_cannot_be_had_is_one_line(
    single: Nodes, change: dict[str, str], message: str, code: int
) -> None:
    single.start()
    single.started(1)
    options = {"--address": single.members[1], "--key": "admin.key", "--cluster": CLUSTER} | change
    options["--key"] = str(single.folder / options["--key"])
    ended = single.command("status", *(part for pair in options.items() for part in pair))
    assert ended.returncode == code
    assert re.fullmatch(rf"seatrial: .*{message}.*\n", ended.stderr), ended.stderr


def test_metrics_are_served_to_scrapers_and_to_nobody_else(single: Nodes) -> None:
    single.start()
    single.started(1)
    base = f"http://127.0.0.1:{single.metrics[1]}"

    def page() -> str:
        with urllib.request.urlopen(f"{base}/metrics", timeout=PATIENCE_S) as answer:
            return str(answer.read().decode())

    text = until("it leads, and its first entry is committed", lambda: (
        found if 'seatrial_role{role="leader"} 1.0' in (found := page())
        and "seatrial_commit_index 0.0" not in found else ""))
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values["seatrial_term"]) >= 1
    assert float(values["seatrial_wal_sync_seconds_count"]) >= 2
    assert (values["seatrial_wal_sync_seconds_count"]
            == values['seatrial_wal_sync_seconds_bucket{le="+Inf"}'])
    assert values['seatrial_connections{role="client"}'] == "0.0"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{base}/", timeout=PATIENCE_S)
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(f"{base}/metrics", data=b"x", timeout=PATIENCE_S)
    with socket.create_connection(("127.0.0.1", single.metrics[1]), PATIENCE_S) as sock:
        sock.sendall(b"x" * 20000)
        assert sock.recv(64).startswith(b"HTTP/1.1 431 ")


def fails(nodes: Nodes, n: int = 1) -> tuple[int, str]:
    """Start a node that can't start; return exit code and its one line."""
    nodes.start(n)
    code, errors = nodes.ended(n)
    assert errors.startswith("seatrial: ")
    assert errors.count("\n") == 1, errors
    return code, errors.removeprefix("seatrial: ").rstrip()


def test_an_occupied_port_is_named(single: Nodes) -> None:
    host, _, port = single.members[1].rpartition(":")
    with socket.socket() as taken:
        taken.bind((host, int(port)))
        taken.listen()
        assert fails(single) == (
            255, f"can't listen on {single.members[1]}: Address already in use")


def test_a_metrics_port_that_is_occupied_is_named(single: Nodes) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", single.metrics[1]))
        taken.listen()
        assert fails(single) == (
            255, f"can't listen on 127.0.0.1:{single.metrics[1]}: Address already in use")


@pytest.mark.netns
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_is_full_at_the_start_is_named(single: Nodes, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    single.configure(1, data=str(disk / "data"))
    ended = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c",
         'mount -t tmpfs -o size=1m none "$1" || exit 99; shift; exec "$@"',
         "sh", disk, sys.executable, "-m", "seatrial.core", "serve", "--config",
         single.folder / "node1.yml"],
        check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (ended.returncode, ended.stderr) == (
        255, f"seatrial: can't open the log in {disk}/data/wal: No space left on device\n")


@pytest.mark.parametrize("learner", [False, True], ids=["only-member", "only-voter"])
def test_a_corrupt_log_of_the_only_voter_is_named_with_the_offset(single: Nodes, learner: bool
                                                                  ) -> None:
    """There is no leader to give it back what it lost: a learner can't be one."""
    async def story() -> None:
        client = await single.client()
        await client.write(b"the-key", b"the-value")
        await client.write(b"the-key", b"another")
        await client.close()

    single.start()
    single.started(1)
    if learner:
        [port] = free_ports(1)
        added = single.command("member", "add", "2", f"127.0.0.1:{port}", "--learner",
                               "--config", single.folder / "node1.yml")
        assert added.returncode == 0, added.stderr
    run_async(story())
    single.kill()
    frames: list[Frame] = []
    recover(single.folder / "data1" / "wal", frames.append)
    frame = next(frame for frame in frames if b"the-value" in frame.records)
    data = bytearray(frame.path.read_bytes())
    data[frame.offset + 6] ^= 1
    frame.path.write_bytes(data)
    code, line = fails(single)
    assert code == 255
    assert line.startswith(f"corrupt segment {frame.path} at offset {frame.offset}: ")
    verified = single.command("verify", single.folder / "data1")
    assert verified.returncode == 1
    assert f"{frame.path.name} @{frame.offset}: no valid frame until" in verified.stdout
    assert verified.stdout.endswith("is missing\ndamaged\n")


def test_a_log_that_was_removed_is_not_taken_for_a_new_node(single: Nodes) -> None:
    single.start()
    single.started(1)
    single.kill()
    for _, path in list_segments(single.folder / "data1" / "wal"):
        path.unlink()
    code, line = fails(single)
    assert (code, "0000000000000001.wal is missing" in line) == (255, True)


def test_the_data_of_another_node_is_refused(nodes: Nodes) -> None:
    nodes.start(1)
    nodes.started(1)
    nodes.kill(1)
    nodes.configure(2, data="data1")
    code, line = fails(nodes, 2)
    assert code == 254
    assert "belongs to node 1 of cluster 'test', this is node 2" in line


def test_a_second_process_on_the_same_data_is_refused(single: Nodes) -> None:
    single.start()
    single.started(1)
    ended = single.command("serve", "--config", single.folder / "node1.yml")
    assert ended.returncode == 255
    assert ended.stderr == (
        f"seatrial: the log in {single.folder / 'data1' / 'wal'} is open in another process\n")


def test_dump_wal_shows_what_was_written(single: Nodes) -> None:
    async def story() -> None:
        client = await single.client()
        await client.write(b"the-key", b"the-value")
        await client.close()

    single.start()
    run_async(story())
    single.signal(1, signal.SIGTERM)
    single.ended(1)
    shown = single.command("dump-wal", single.folder / "data1")
    assert shown.returncode == 0
    assert "the-key" in shown.stdout
    assert "the-value" in shown.stdout
    lines = single.command("dump-wal", single.folder / "data1", "--json").stdout.splitlines()
    records = [record for line in lines for record in json.loads(line)["records"]]
    kinds = [record["kind"] for record in records]
    assert kinds == ["config", "open-session", "command"]
    verified = single.command("verify", single.folder / "data1", "--json")
    found = json.loads(verified.stdout)
    assert (found["last_index"], found["damage"], found["refused"]) == (3, [], None)
    assert verified.returncode == 0


def test_a_directory_without_a_log_is_said_to_be_one(single: Nodes) -> None:
    for command in ("verify", "dump-wal"):
        ended = single.command(command, single.folder)
        assert (ended.returncode, ended.stderr) == (
            255, f"seatrial: no write-ahead log in {single.folder}\n")


def test_bad_usage_exits_with_254(single: Nodes) -> None:
    ended = single.command("serve")
    assert ended.returncode == 254
    assert "--config" in ended.stderr


def test_an_exception_that_nobody_expected_ends_the_node(single: Nodes) -> None:
    """The machine's invariants are broken from outside: the node must not go on."""
    config = single.folder / "node1.yml"
    ended = subprocess.run(
        [sys.executable, "-c", BREAK_AN_INVARIANT, str(config)],
        check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ended.returncode == 255
    assert "fatal: node 1: InvariantViolation: broken on purpose [7, 0, 0]" in ended.stderr
    fatal = single.events(1, "fatal")[0]
    assert fatal["level"] == "error"
    assert "broken on purpose" in fatal["trace"]


BREAK_AN_INVARIANT = """
import sys
from pathlib import Path
from seatrial.core import node
from seatrial.core.config import load
from seatrial.core.errors import InvariantViolation

class Broken(node.Replica):
    def poll(self, now_ns):
        raise InvariantViolation("broken on purpose [7, 0, 0]")

node.Replica = Broken
node.run(load(Path(sys.argv[1])))
"""


def test_a_failing_log_file_does_not_stop_the_node(single: Nodes) -> None:
    single.configure(1, log={"file": "/dev/full"})
    single.start()
    def lost() -> bool:
        try:
            with urllib.request.urlopen(
                    f"http://127.0.0.1:{single.metrics[1]}/metrics", timeout=PATIENCE_S) as answer:
                text = answer.read().decode()
        except OSError:
            return False
        return bool(re.search(r"seatrial_log_lines_lost_total [1-9]", text))
    until("lines are counted as lost", lost)


def test_a_client_that_does_not_fetch_its_answers_is_cut_off(single: Nodes) -> None:
    async def fill() -> None:
        client = await single.client()
        await client.write(b"big", bytes(1 << 20))
        await client.close()

    single.configure(1, limits={"max_unsent_bytes": 1 << 16})
    single.start()
    run_async(fill())
    with raw(single) as sock:
        sock.sendall(b"".join(encode_request(i, 0, 0, OPS["read"], b"big") for i in range(50)))
        assert until("it is logged", lambda: [
            line for line in single.events(1, "connection-closed")
            if "does not fetch its answers" in line["reason"]])


def test_small_questions_with_large_answers_do_not_fill_the_memory(single: Nodes) -> None:
    """Found by a client that asked for gigabytes in one packet."""
    async def fill() -> None:
        client = await single.client()
        await client.write(b"big", bytes(1 << 20))
        await client.close()

    single.start()
    run_async(fill())
    asked = 500
    statuses: Counter[int] = Counter()
    with raw(single) as sock:
        sock.sendall(b"".join(encode_request(i, 0, 0, OPS["read"], b"big") for i in range(asked)))
        data = bytearray()
        while statuses.total() < asked:
            data += sock.recv(1 << 20)
            statuses.update(decode_response(frame)[1] for frame in split_frames(data))
    assert set(statuses) == {0, 6}              # ok and busy


def test_the_client_keeps_to_the_names_of_its_members(single: Nodes) -> None:
    async def story() -> None:
        client: Client = await single.client()
        with pytest.raises(ValueError, match="node 9 is not among the members"):
            await client.status(9)
        status: dict[str, Any] = await client.status(1)
        assert status["node"] == 1
        await client.close()

    single.start()
    run_async(story())
