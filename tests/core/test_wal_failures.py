"""Disks that fail under the log, and processes killed in the middle of it."""
from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from seatrial.core.recovery import list_segments, recover
from seatrial.harness.rng import Rng

from .wal_tools import group, reopen, write_groups

WRITER = """
import sys
from seatrial.core.codec import encode_record
from seatrial.core.wal import Wal
directory, inline = sys.argv[1], sys.argv[2] == "inline"
first, size = map(int, sys.argv[3:5])
wal = Wal.open(directory, segment_bytes=4096)
print("open", flush=True)
for seq in range(first, first + 1000):
    payload = b"%d/1" % seq + bytes(size)
    wal.submit(seq, 1, 0, 1, encode_record(seq, 1, 0, payload), seq - 1, int(seq > 1),
               inline=inline)
    assert wal.finish() == seq
    print(seq, flush=True)
"""

FAILING_SYNC = """
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static int calls;
/* One sync fails; one who tried again would find that the second works. */
int fdatasync(int fd) {
    int call = __sync_add_and_fetch(&calls, 1);
    fprintf(stderr, "sync %d\\n", call);
    if (call == atoi(getenv("FAIL_AT"))) { errno = EIO; return -1; }
    return fsync(fd);
}
"""


def writer(
    directory: Path, mode: str = "inline", first: int = 1, size: int = 0,
    env: dict[str, str] | None = None, file_limit: int | None = None,
) -> subprocess.Popen[str]:
    """Start a process that appends a record after the other and prints what is durable."""
    def limit() -> None:
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory), mode, str(first), str(size)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | (env or {}), preexec_fn=limit)


@pytest.fixture
def failing_disk(tmp_path: Path) -> str:
    """Build the library whose fdatasync fails once; return what is to be preloaded."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc to build the failing disk")
    source, library = tmp_path / "fail.c", tmp_path / "fail.so"
    source.write_text(FAILING_SYNC)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    return f"{os.environ.get('LD_PRELOAD', '')} {library}".lstrip()    # sanitizers come first


def promised(output: str) -> int:
    """Return the last record that the writer said is durable; a line cut short does not count."""
    whole = output[:output.rfind("\n") + 1].split()
    return int(whole[-1]) if whole and whole[-1] != "open" else 0


@pytest.mark.parametrize("mode", ["inline", "worker"])
def test_a_failed_sync_ends_the_process_and_is_not_tried_again(
    tmp_path: Path, failing_disk: str, mode: str
) -> None:
    log = tmp_path / "log"
    env = {"LD_PRELOAD": failing_disk, "FAIL_AT": "5"}
    output, errors = writer(log, mode, env=env).communicate(timeout=120)
    assert f"seatrial: fatal: can't sync {log}/0000000000000001.wal: Input/output error" in errors
    assert "sync 5\n" in errors
    assert "sync 6\n" not in errors
    assert 0 < promised(output) < 5


def test_a_failed_sync_of_a_new_segment_ends_the_process(
    tmp_path: Path, failing_disk: str
) -> None:
    write_groups(tmp_path / "log", [(1, 0, group(1, 1))])
    list_segments(tmp_path / "log")[1][1].unlink()
    process = writer(
        tmp_path / "log", first=2, env={"LD_PRELOAD": failing_disk, "FAIL_AT": "2"})
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 255
    assert "can't prepare" in errors or "can't sync" in errors


def test_what_was_read_is_made_durable_before_the_log_opens(
    tmp_path: Path, failing_disk: str
) -> None:
    """The newest frame may be in the kernel's cache only: see the first sync fail, and the node."""
    write_groups(tmp_path / "log", [(1, 0, group(1, 1))])
    process = writer(tmp_path / "log", first=2, env={"LD_PRELOAD": failing_disk, "FAIL_AT": "1"})
    output, errors = process.communicate(timeout=120)
    assert "can't repair segment" in errors
    assert "0000000000000001.wal: Input/output error" in errors
    assert output == ""


@pytest.mark.parametrize("mode", ["inline", "worker"])
def test_a_failed_write_ends_the_process(tmp_path: Path, mode: str) -> None:
    write_groups(tmp_path, [(1, 0, group(1, 1))])
    process = writer(tmp_path, mode, first=2, size=500, file_limit=2048)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 255
    assert f"seatrial: fatal: can't write {tmp_path}/0000000000000001.wal: File too large" in errors
    found, _ = reopen(tmp_path)
    assert 2 <= promised(output) <= found.last_index <= promised(output) + 1


@pytest.mark.netns
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_ends_the_process_and_loses_nothing_promised(tmp_path: Path) -> None:
    """A tmpfs of 64 KiB in a mount namespace that ends with the writer."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = tmp_path / "writer.py"
    script.write_text(WRITER)
    copy = tmp_path / "copy"
    ended = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c",
         'mount -t tmpfs -o size=64k none "$1" || exit 99;'
         ' "$2" "$3" "$1/log" inline 1 500; code=$?; cp -r "$1/log" "$4"; exit $code',
         "sh", disk, sys.executable, script, copy],
        check=False, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 255, ended.stderr
    assert "No space left on device" in ended.stderr
    assert f"{disk}/log" in ended.stderr
    assert ended.stderr.count("\n") == 1
    durable = promised(ended.stdout)
    assert 0 < durable <= recover(copy).last_index <= durable + 1
    assert list(disk.iterdir()) == []


@pytest.mark.randomised
@pytest.mark.randomised
def test_what_was_promised_survives_kills_and_torn_tails_of_any_kind(
    tmp_path: Path
) -> None:
    """Lives of a log, each ended by kill -9, some with a torn end added to what was promised."""
    seed = int(os.environ.get("SEED", "0")) or int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}: SEED={seed} python -m pytest {__file__} -k survives")
    rng = Rng(seed)
    durable = 0
    for _ in range(8):
        mode = rng.choice(["inline", "worker"])
        process = writer(tmp_path, mode, first=durable + 1, size=rng.choice([0, 200, 1500]))
        assert process.stdout is not None
        seen = ""
        for _ in range(2 + rng.below(40)):
            seen += process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        rest, errors = process.communicate(timeout=60)
        assert errors == "", errors
        seen += rest
        durable = max(durable, promised(seen))
        found = recover(tmp_path)
        assert durable <= found.last_index <= durable + 1
        if rng.below(2):
            tear(rng, found.end_offset, list_segments(tmp_path)[found.end_sequence - 1][1])
        found, _ = reopen(tmp_path)
        assert durable <= found.last_index <= durable + 1
        durable = found.last_index
    assert durable > 8


def tear(rng: Rng, end: int, segment: Path) -> None:
    """Leave some sectors of an unfinished frame at the end of a segment."""
    data = bytearray(segment.read_bytes())
    salt = data[16:24]
    frame = bytearray(b"STWF" + (400).to_bytes(4, "little") + salt + bytes(424))
    for at in range(24, len(frame)):
        frame[at] = rng.below(256)
    frame = frame[: max(0, min(len(frame), len(data) - end))]
    for at in range(0, len(frame), 64):
        if rng.below(2):
            frame[at:at + 64] = bytes(len(frame[at:at + 64]))
    data[end:end + len(frame)] = frame
    segment.write_bytes(data)
