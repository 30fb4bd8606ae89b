"""``seatrial domains`` of real nodes: drawn while clients write, and while nodes stand still."""
from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from .campaigns import Going, going, nothing_left, seatrial

pytestmark = [pytest.mark.cluster, pytest.mark.netns]

FILE = """\
name: live
system: {name: node, options: {heartbeat_ms: 60, election_ms: 400}}
topology:
  domains:
    A: {nodes: 3}
    B: {nodes: 2, parent: A, mode: sync}
    C: {nodes: 1, parent: B, mode: async}
  timers: {lease: 0.3, promise: 0.3, exclude_after: 1}
workload: {name: register, options: {keys_at_a_time: 3, ops_per_key: 100}}
clients: 3
rate: 50
op_timeout: 4
time_limit: 600
faults: {names: []}
"""
# what stands still is asked too, and has its time
STOP = "kill -STOP $(cat /data/seatrial/node.pid)"
CONTINUE = "kill -CONT $(cat /data/seatrial/node.pid)"


def test_a_tree_that_runs_is_drawn_and_what_stands_still_is_told(tmp_path: Path) -> None:
    path = tmp_path / "live.yml"
    path.write_text(FILE)
    with nothing_left(), going("run", path, "--seed", "3", "--store", tmp_path / "s") as campaign:
        lab = campaign.lab()
        lines = seen(campaign, lab, r"B\(2/1\) .*included .*2 of 2 up +streaming", r"3 of 3 up",
                     r"C\(1\) .*leader n6, .*streaming, applied [\d,]+, [\d,]+ entries, .*behind")
        assert re.match(r"A\(3/1\) +root +leader n[123], term \d+, 3 of 3 up +applied", lines[0])
        assert len(lines) == 3, "everybody answers"
        for host in ("n4", "n5"):
            assert seatrial("ssh", "--lab", lab, host, "--", "sh", "-c", STOP).code == 0
        lines = seen(campaign, lab, r"B\(2/1\) .*excluded .*no leader, 0 of 2 up",
                     r"C\(1\) .*parent silent for \d+ s|C\(1\) .*(detached|attaching)",
                     r"n4: .*no answer within 2 s", r"n5: .*no answer within 2 s")
        assert len(lines) == 5
        for host in ("n4", "n5"):
            assert seatrial("ssh", "--lab", lab, host, "--", "sh", "-c", CONTINUE).code == 0
        seen(campaign, lab, r"B\(2/1\) .*included .*2 of 2 up +streaming",
             r"C\(1\) .*leader n6, .*streaming")
        campaign.process.send_signal(signal.SIGINT)
        campaign.end()


def seen(campaign: Going, lab: str, *patterns: str) -> list[str]:
    """Return what is drawn, once each pattern is found in a line of it."""
    lines: list[str] = []

    def drawn() -> bool:
        nonlocal lines
        ended = seatrial("domains", "--lab", lab, "--timeout", "2")
        lines = ended.out.splitlines()
        return all(any(re.search(pattern, line) for line in lines) for pattern in patterns)

    campaign.wait_for(drawn)
    return lines
