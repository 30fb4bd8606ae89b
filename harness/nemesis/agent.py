"""The part of the nemesis that works on a host: one file, standard library only, Python 3.9+.

The controller uploads it into a folder of its own (the state folder is where this file lies)
and runs it over SSH as root: ``agent.py COMMAND``, a JSON object on stdin, one on stdout; an
error is one line on stderr and exit code 1.

| command | request | does |
|---|---|---|
| install | run, addresses, controllers, deadline_s | heals leftovers, starts the resident |
| peers | peers: [[address, port]] | tells the resident whom to send beacons to |
| cut | id, name, sources | drops all packets from these addresses |
| pause | id, name, pids | SIGSTOP |
| stopped | id | returns which of these are stopped in each of their threads, and which not |
| aim | id, name, pids | journals processes that the controller is about to kill |
| gone | id | returns which of these still run |
| shape | id, name, to, netem | netem on the packets that leave for these addresses |
| shaped | | returns how many packets netem has let through and dropped |
| clock | id, name, bump_ms; or strobe_ms, period_ms | moves the wall clock, once; or to and fro |
| | or rate_ppm | lets all clocks drift |
| clocks | watch_ms | returns the clocks, in ns, and how far the wall clock was off in a while |
| disk | id, name, how, ms | puts another device-mapper target under the data disk, or fills it |
| disked | | returns how long a synced write to the data disk takes, or its error |
| administer | id, name, undo | journals the command that undoes what is about to be done |
| check | pids, addresses, ports | returns which processes and ports don't answer |
| stop | id | ends one fault; an error when its command for that fails |
| examine | addresses, clocks, disk | returns what the host is, and what can't work there |
| remove | | ends every fault in the journal, then leaves nothing behind |

**Journal.** A fault is a file in ``journal/``, on disk before the fault begins and deleted
after it was undone, so that whatever dies in between, it is known what to undo. The rules in
force are always computed from the whole journal, which makes every command idempotent and
lets cuts overlap.

**Resident.** One process per host, in a session of its own, outside the node's process group.
It is the dead-man: when the controller has not touched ``alive`` for ``deadline_s`` it undoes
the journal and exits. It sends a numbered datagram to every peer each ``BEAT_S`` and shows in
the view file the newest numbers sent to and heard from each: what the controller proves cuts
with (probe.py). It exits by itself when its run's ``run.json`` is removed or replaced. It holds
a lock while it lives, and no fault starts without it.

**Clocks and disks** are touched only where ``install`` was told that they are the host's own, and
put right: a disk by the table that was journalled, a clock by the raw monotonic one, which nothing
here moves.

**Shaping** is a prio qdisc of our own with netem in a fourth band, which only packets for the given
addresses are sent to: the controller's are not. A host whose link somebody else shapes is left.

**Rules** live in a chain of our own that exists only while something is cut, first in INPUT so
that nobody's ACCEPT comes before it, and never ACCEPT anything themselves: the controller's
packets, and neighbour discovery (else a one-way cut would cut both ways on IPv6), RETURN to the
host's own firewall. Only the receiver drops: senders notice nothing but silence.
"""
from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import ipaddress
import json
import mmap
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

STATE = Path(__file__).resolve().parent
JOURNAL = STATE / "journal"
RUN = STATE / "run.json"
PEERS = STATE / "peers.json"
ALIVE = STATE / "alive"
LIFE = STATE / "resident.lock"
VIEW = Path("/run") / f"{STATE.name}.view"      # tmpfs: beacons must not disturb the disk
CHAIN = "SEATRIAL-IN"
BEAT_S = 0.05
LOCK_WAIT_S = "5"
TOOLS = {4: "iptables", 6: "ip6tables"}
RESIDENT_WAIT_S = 30.0
BUSY_S = 10.0
READINGS, NEAR_NS = 9, 2_000_000
CONNECT_S = 0.5
RETRY_S = 1.0
PRIO, NETEM = "5ea7:", "5ea8:"      # handles of our qdiscs
ADJ_TICK, TICK_US, CAP_SYS_TIME = 0x4000, 10_000, 25
FILLER, PROBE = ".seatrial-full", ".seatrial-probe"
UNDO_S = 40.0                   # what a command that undoes something may take
MOST_DATAGRAMS = 1000           # a beat; whoever floods us must not keep us from beating

Json = dict[str, Any]


class AgentError(Exception):
    """Something that the controller must know, in one line."""


# files

def write_json(path: Path, value: Any) -> None:
    """Write a file whole and durably: what is journalled must survive the host's crash."""
    new = path.with_suffix(".new")
    with new.open("w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make renames and deletions in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_json(path: Path) -> Any:
    """Return a file's value, or None when it isn't there."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Let one command at a time change the journal and what follows from it."""
    with (STATE / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def journal() -> list[Json]:
    """Return every fault that is in force or about to be."""
    entries = [read_json(path) for path in sorted(JOURNAL.glob("*.json"))]
    return [entry for entry in entries if entry is not None]


def entry_path(fault: str) -> Path:
    """Return the journal's file of a fault, refusing ids that would leave the folder."""
    if not fault or not all(c.isalnum() or c in "-_" for c in fault):
        raise AgentError(f"fault id {fault!r}: expected letters, digits, - and _")
    return JOURNAL / f"{fault}.json"


def forget(fault: str) -> None:
    """Take a fault that was undone out of the journal."""
    entry_path(fault).unlink()
    sync_folder(JOURNAL)


# processes: a pid alone may have been given to somebody else since

def boot_id() -> str:
    """Return what tells this boot of the host from every other."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def stat_fields(path: str) -> list[str] | None:
    """Return the fields of a /proc stat file from the state on, or None when it is gone."""
    try:
        with open(path, "rb") as file:          # noqa: PTH123 (hot while waiting for a stop)
            text = file.read().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2:].split()


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when there is none."""
    fields = stat_fields(f"/proc/{pid}/stat")
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def identify(pids: list[int]) -> list[list[int]]:
    """Return [pid, start time] of each of these processes that runs."""
    return [[pid, start] for pid in pids for start in [start_time(pid)] if start is not None]


def send_signal(pid: int, start: int, number: int) -> bool:
    """Signal exactly the process that had this pid and start time; False when it is gone."""
    try:
        fd = os.pidfd_open(pid)                 # from here on the pid can't change its owner
    except ProcessLookupError:
        return False
    try:
        if start_time(pid) != start:
            return False
        signal.pidfd_send_signal(fd, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)


def is_stopped(pid: int, start: int) -> bool:
    """Tell whether a process lives and each of its threads is stopped."""
    if start_time(pid) != start:
        return False
    for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 (as above)
        fields = stat_fields(f"/proc/{pid}/task/{task}/stat")
        if fields is not None and fields[0] != "T":
            return False
    return True


# rules

def command(argv: list[str], stdin: str | None = None, timeout_s: float = 30.0,
            good: tuple[int, ...] = (0,)) -> str:
    """Run a tool; return its output or raise with its complaint."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout_s)
    if done.returncode not in good:
        complaint = (done.stderr.strip().splitlines() or ["no message"])[0]
        raise AgentError(f"{argv[0]}: exit code {done.returncode}: {complaint}")
    return done.stdout


def version_of(address: str) -> int:
    """Return 4 or 6, refusing what isn't an address or a network."""
    try:
        return ipaddress.ip_network(address, strict=False).version
    except ValueError as error:
        raise AgentError(f"{address!r}: expected an IP address or network") from error


def chain_rules(version: int, controllers: list[str], sources: list[str]) -> list[str]:
    """Return our chain's rules for one IP version, in iptables-restore's language."""
    rules = [f"-A {CHAIN} -s {address} -j RETURN"
             for address in controllers if version_of(address) == version]
    if version == 6:
        rules += [f"-A {CHAIN} -p ipv6-icmp --icmpv6-type {kind} -j RETURN" for kind in (135, 136)]
    return rules + [f"-A {CHAIN} -s {address} -j DROP"
                    for address in sources if version_of(address) == version]


def apply_cuts(entries: list[Json]) -> None:
    """Make our chains drop exactly what these faults cut, in one transaction per IP version."""
    run = read_json(RUN) or {"controllers": []}
    sources = sorted({source for entry in entries for source in entry.get("sources", ())})
    for version, tool in TOOLS.items():
        wanted = [source for source in sources if version_of(source) == version]
        if not wanted and shutil.which(tool) is None:
            continue
        existing = command([tool, "-w", LOCK_WAIT_S, "-S"]).splitlines()
        jump = f"INPUT -j {CHAIN}"
        script = [f"-D {jump}" for rule in existing if rule == f"-A {jump}"]
        if wanted:
            script = [f":{CHAIN} - [0:0]", *script, f"-I {jump}",
                      *chain_rules(version, run["controllers"], wanted)]
        elif f"-N {CHAIN}" in existing:
            script += [f"-F {CHAIN}", f"-X {CHAIN}"]
        if script:
            command([f"{tool}-restore", "-w", LOCK_WAIT_S, "--noflush"],
                    "\n".join(["*filter", *script, "COMMIT", ""]))


# the network: netem, on chosen packets only

def link() -> str:
    """Return the link that has this host's address."""
    address = read_json(RUN)["addresses"][0]
    shown = command(["ip", "-o", "address", "show", "to", address]).split()
    if len(shown) < 2:
        raise AgentError(f"{address}: not an address of this host")
    return shown[1]


def shape(request: Json) -> Json:
    """Do something to the packets that leave here for these addresses."""
    to, netem = request["to"], [str(word) for word in request["netem"]]
    versions = {address: version_of(address) for address in to}
    with locked():
        here = link()
        roots = [line for line in command(["tc", "qdisc", "show", "dev", here]).splitlines()
                 if " root " in line]
        if any(line.split()[2] != "0:" for line in roots):
            raise AgentError(f"{here}: its packets are shaped already ({roots[0].strip()})")
        begin(request, "shape", link=here)
        try:
            command(["tc", "qdisc", "add", "dev", here, "root", "handle", PRIO, "prio", "bands",
                     "4"])
            command(["tc", "qdisc", "add", "dev", here, "parent", f"{PRIO}4", "handle", NETEM,
                     "netem", "limit", "100000", *netem])
            for address, version in versions.items():
                protocol, field, bits = ("ip", "ip", 32) if version == 4 else ("ipv6", "ip6", 128)
                command(["tc", "filter", "add", "dev", here, "parent", PRIO, "protocol", protocol,
                         "prio", str(version), "u32", "match", field, "dst", f"{address}/{bits}",
                         "flowid", f"{PRIO}4"])
        except AgentError:
            undo([entry for entry in journal() if entry["id"] == request["id"]])
            raise
    return {}


def unshape(entry: Json) -> None:
    """Take our qdisc away, where it is."""
    shown = command(["tc", "qdisc", "show", "dev", entry["link"]])
    if f"qdisc prio {PRIO} root" in shown:
        command(["tc", "qdisc", "del", "dev", entry["link"], "root"])


def shaped(_request: Json) -> Json:
    """Return what netem has counted since it is there."""
    shown = command(["tc", "-s", "qdisc", "show", "dev", link()])
    _, found, ours = shown.partition(f"qdisc netem {NETEM}")
    if not found:
        return {"there": False, "packets": 0, "dropped": 0}
    words = ours.split("Sent ", 1)[1].replace("(", " ").replace(",", " ").split()
    return {"there": True, "packets": int(words[2]), "dropped": int(words[5])}


def no_shaping() -> str | None:
    """Return why netem can't work here. It is tried where it does nothing to anybody."""
    if shutil.which("tc") is None:
        return "tc isn't installed (iproute2)"
    try:
        command(["tc", "qdisc", "add", "dev", "lo", "root", "handle", NETEM, "netem"])
        command(["tc", "qdisc", "del", "dev", "lo", "root", "handle", NETEM])
    except AgentError as error:
        return f"no netem: {error}"
    return None


# clocks

class Timex(ctypes.Structure):
    """struct timex of adjtimex(2), as far as it matters here."""

    _fields_ = (("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long),
                ("maxerror", ctypes.c_long), ("esterror", ctypes.c_long),
                ("status", ctypes.c_int), ("constant", ctypes.c_long),
                ("precision", ctypes.c_long), ("tolerance", ctypes.c_long),
                ("time", ctypes.c_long * 2), ("tick", ctypes.c_long), ("rest", ctypes.c_char * 128))


def set_tick(tick_us: int) -> None:
    """Say how far clocks go in what should be 10,000 us (adjtimex(2): 9,000 to 11,000)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(ctypes.byref(Timex(modes=ADJ_TICK, tick=tick_us))) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "adjtimex")


def raw_ns() -> int:
    """Return a clock that nobody can move."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)


def wall_and_raw() -> tuple[int, int]:
    """Read both clocks at one moment: of some tries the one that was interrupted least."""
    tries = []
    for _ in range(READINGS):
        before, wall, after = raw_ns(), time.time_ns(), raw_ns()
        tries.append((after - before, wall, (before + after) // 2))
    _, wall, raw = min(tries)
    return wall, raw


def clock(request: Json) -> Json:
    """Move the wall clock, or let it drift (and the monotonic one, which follows it)."""
    if no_clock(read_json(RUN)):
        raise AgentError("the clock of this host may not be moved")
    with locked():
        wall, raw = wall_and_raw()
        begin(request, "clock", wall=wall, raw=raw)
        if "rate_ppm" in request:
            set_tick(TICK_US + request["rate_ppm"] * TICK_US // 1_000_000)
        elif "strobe_ms" in request:
            words = [request["id"], str(request["strobe_ms"]), str(request["period_ms"])]
            subprocess.Popen([sys.executable, "-I", "-S", str(Path(__file__).resolve()), "strobe",
                              *words], start_new_session=True, cwd="/", stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        else:
            time.clock_settime_ns(time.CLOCK_REALTIME,
                                  time.time_ns() + request["bump_ms"] * 1_000_000)
    return {}


def strobe(fault: str, strobe_ms: int, period_ms: int) -> None:
    """Move the wall clock ahead and back, a step each period, while the fault is journalled.

    Under the lock under which it is undone: nothing is moved any more once it was put right.
    """
    ahead = False
    while True:
        ahead = not ahead
        with locked():
            entry = read_json(entry_path(fault))
            if entry is None or entry["boot"] != boot_id():
                return
            time.clock_settime_ns(time.CLOCK_REALTIME,
                                  where_it_would_be(entry) + ahead * strobe_ms * 1_000_000)
        time.sleep(period_ms / 1000)


def where_it_would_be(entry: Json) -> int:
    """Return what the wall clock would show without the fault."""
    return int(entry["wall"]) + raw_ns() - int(entry["raw"])


def restore_clock(entry: Json) -> None:
    """Put the clock where it would be; another fault's bump goes with it."""
    if entry["boot"] == boot_id():          # else it was set when the host booted
        set_tick(TICK_US)
        for _ in range(READINGS):           # again where it was interrupted in between
            time.clock_settime_ns(time.CLOCK_REALTIME, where_it_would_be(entry))
            wall, raw = wall_and_raw()
            if abs(wall - raw - int(entry["wall"]) + int(entry["raw"])) < NEAR_NS:
                break


def clocks(request: Json) -> Json:
    """Return the clocks, read together, and how far the wall clock was ahead of the raw one, at
    least and at most, in a while."""
    wall, raw = wall_and_raw()
    seen = {"wall": wall, "monotonic": time.monotonic_ns() + raw - raw_ns(), "raw": raw}
    least = most = wall - raw
    while raw_ns() < seen["raw"] + request.get("watch_ms", 0) * 1_000_000:
        off = time.time_ns() - raw_ns()
        least, most = min(least, off), max(most, off)
        time.sleep(0.001)
    return {**seen, "least": least, "most": most}


def no_clock(request: Json) -> str | None:
    """Return why this host's clock can't be moved."""
    if not request.get("clocks"):
        return "the clock is not the host's own"
    effective = next(line for line in Path("/proc/self/status").read_text().splitlines()
                     if line.startswith("CapEff:"))
    return None if int(effective.split()[1], 16) >> CAP_SYS_TIME & 1 else "no CAP_SYS_TIME"


# the data disk

def disk(request: Json) -> Json:
    """Make the data disk slow, stall, fail, lie or full."""
    run = read_json(RUN)
    if no_disk(run):
        raise AgentError("the data disk of this host may not be touched")
    name, where = run["disk"]
    how, ms = request["how"], request.get("ms", 0)
    with locked():
        if any(entry["kind"] == "disk" for entry in journal()):
            raise AgentError(f"{where}: another fault has the disk already")
        table = command(["dmsetup", "table", name]).strip()
        start, size, _, device, offset = table.split()
        begin(request, "disk", how=how, name_of=name, where=where, table=table)
        if how == "full":
            fill(Path(where, FILLER))
        elif how == "stall":
            command(["dmsetup", "suspend", "--noflush", "--nolockfs", name])
        else:
            target = f"delay {device} {offset} 0 {device} {offset} {ms}" if how == "slow" else \
                f"flakey {device} {offset} 0 86400 1 " \
                f"{'drop' if how == 'lost' else 'error'}_writes"
            change_table(name, f"{start} {size} {target}")
    return {}


def change_table(name: str, table: str) -> None:
    """Put another target under a mounted file system."""
    command(["dmsetup", "load", name, "--table", table])
    command(["dmsetup", "suspend", "--nolockfs", "--noflush", name])
    command(["dmsetup", "resume", name])


def restore_disk(entry: Json) -> None:
    """Give the data disk back its own target, and its file system a way to go on."""
    name, where = entry["name_of"], entry["where"]
    Path(where, FILLER).unlink(missing_ok=True) if entry["how"] == "full" else None
    if entry["boot"] != boot_id() or entry["how"] in ("full", "lost"):
        return
    if entry["how"] != "stall":
        command(["dmsetup", "load", name, "--table", entry["table"]])
        command(["dmsetup", "suspend", "--nolockfs", "--noflush", name])
    command(["dmsetup", "resume", name])
    if entry["how"] == "error":             # ext4 gave up its journal: only a new mount helps
        mount_anew(f"/dev/mapper/{name}", where)


def mount_anew(device: str, where: str) -> None:
    """Repair a file system; begins where an earlier try ended. A process that is being killed may
    still be in it for a moment."""
    deadline = time.monotonic() + BUSY_S
    while os.path.ismount(where):
        try:
            command(["umount", where])
        except AgentError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    try:
        command(["e2fsck", "-p", device], good=(0, 1))
    except AgentError:                      # more than it dares to repair without being asked
        command(["e2fsck", "-f", "-y", device], good=(0, 1))
    command(["mount", "-o", "noatime", device, where])


def fill(path: Path) -> None:
    """Write until there is no room."""
    with path.open("wb") as file:
        for size in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while True:
                    os.write(file.fileno(), bytes(size))


def disked(_request: Json) -> Json:
    """Try a synced write; return how long it took, or what went wrong, and whether it is there."""
    path = Path(read_json(RUN)["disk"][1], PROBE)
    written = os.urandom(1 << 16)
    began = time.monotonic_ns()
    try:
        with path.open("wb") as file:
            os.write(file.fileno(), written)
            os.fsync(file.fileno())
        return {"took_ns": time.monotonic_ns() - began, "error": None,
                "kept": on_disk(path, len(written)) == written}
    except OSError as error:
        return {"took_ns": time.monotonic_ns() - began, "error": errno.errorcode[error.errno or 0],
                "kept": False}
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def on_disk(path: Path, size: int) -> bytes:
    """Return what the disk itself says is in a file, whatever the kernel remembers of it."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, size) as page:               # aligned, as O_DIRECT wants it
            os.preadv(fd, [page], 0)
            return page[:]
    finally:
        os.close(fd)


def lose_power() -> None:
    """Boot anew, at once: what the data disk lost can't be told to its file system otherwise."""
    with open("/proc/sys/kernel/sysrq", "w") as file:   # noqa: PTH123
        file.write("1")
    with open("/proc/sysrq-trigger", "w") as file:      # noqa: PTH123
        file.write("b")


def no_disk(request: Json) -> str | None:
    """Return why the data disk can't be made to fail."""
    if not request.get("disk"):
        return "it has no data disk of its own"
    name, where = request["disk"]
    if shutil.which("dmsetup") is None:
        return "dmsetup isn't installed"
    if not os.path.ismount(where) or not Path("/dev/mapper", name).exists():
        return f"{where} is not on /dev/mapper/{name}"
    return None


UNDOING = {"shape": unshape, "clock": restore_clock, "disk": restore_disk}


# the life of a fault

def must_be_guarded() -> None:
    """Refuse to start a fault that no dead-man would undo."""
    if not RUN.exists() or not resident_lives():
        raise AgentError("the dead-man process doesn't run here (its deadline passed, or it was "
                         "killed); no fault starts without it")


def begin(request: Json, kind: str, **details: Any) -> Json:
    """Journal a fault. The same fault begun twice is one fault."""
    must_be_guarded()
    entry = {"id": request["id"], "name": request["name"], "kind": kind, "boot": boot_id(),
             **details}
    write_json(entry_path(entry["id"]), entry)
    return entry


def undo(entries: list[Json], *, resigned: bool = False) -> list[Json]:
    """End these faults, each forgotten once it is undone; what a tool does last, as it may fail,
    and what takes a cluster that can be reached at the very end.

    resigned: what an administrator did stays when it can't be undone: there may be no cluster any
    more that could agree to it. It is told in the entry's ``failed``.
    """
    ending = {entry["id"] for entry in entries}
    for entry in entries:
        if entry["kind"] == "pause" and entry["boot"] == boot_id():    # else nobody we know
            for pid, start in entry["pids"]:
                if not paused_by_another(pid, start, ending):
                    send_signal(pid, start, signal.SIGCONT)
        if entry["kind"] in UNDOING:
            UNDOING[entry["kind"]](entry)
        if entry["kind"] not in ("cut", "administer"):
            forget(entry["id"])
    cuts = [entry["id"] for entry in entries if entry["kind"] == "cut"]
    if cuts:
        apply_cuts([entry for entry in journal() if entry["id"] not in ending])
    for fault in cuts:
        forget(fault)
    for entry in entries:
        if entry["kind"] == "administer":
            run_back(entry, resigned=resigned)
            forget(entry["id"])
    if any(entry.get("how") == "lost" and entry["boot"] == boot_id() for entry in entries):
        lose_power()
    return entries


def run_back(entry: Json, *, resigned: bool) -> None:
    """Undo what an administrator did."""
    try:
        if entry["undo"]:
            command(entry["undo"], timeout_s=UNDO_S)
    except (AgentError, OSError, subprocess.TimeoutExpired) as error:
        if not resigned:
            raise
        entry["failed"] = str(error)


def paused_by_another(pid: int, start: int, ending: set[str]) -> bool:
    """Tell whether a fault that goes on holds this process too."""
    return any(entry["kind"] == "pause" and [pid, start] in entry["pids"]
               for entry in journal() if entry["id"] not in ending)


def cut(request: Json) -> Json:
    """Drop all packets from these addresses, in all of the host."""
    for source in request["sources"]:
        version_of(source)
    with locked():
        begin(request, "cut", sources=request["sources"])
        apply_cuts(journal())
    return {}


def pause(request: Json) -> Json:
    """Stop these processes."""
    with locked():
        entry = begin(request, "pause", pids=identify(request["pids"]))
        for pid, start in entry["pids"]:
            send_signal(pid, start, signal.SIGSTOP)
    return {}


def stopped(request: Json) -> Json:
    """Return which processes of a pause are stopped and which run."""
    pids = journalled_pids(request["id"])
    return {name: [pid for pid, start in pids if is_stopped(pid, start) is wanted]
            for name, wanted in (("stopped", True), ("running", False))}


def aim(request: Json) -> Json:
    """Journal the processes that are about to be killed; return those that run."""
    with locked():
        entry = begin(request, "kill", pids=identify(request["pids"]))
    return {"pids": [pid for pid, _ in entry["pids"]]}


def administer(request: Json) -> Json:
    """Journal how to undo what an administrator is about to do."""
    with locked():
        begin(request, "administer", undo=request["undo"])
    return {}


def gone(request: Json) -> Json:
    """Return which processes of a kill still run."""
    pids = journalled_pids(request["id"])
    return {"alive": [pid for pid, start in pids if start_time(pid) == start]}


def journalled_pids(fault: str) -> list[list[int]]:
    """Return [pid, start time] of a fault's processes."""
    entry = read_json(entry_path(fault))
    return [] if entry is None else list(entry["pids"])


def check(request: Json) -> Json:
    """Return processes that don't run (or are stopped), and ports where nobody answers."""
    return {"idle": [pid for pid in request["pids"]
                     if (stat_fields(f"/proc/{pid}/stat") or "X")[0] in "TZX"],
            "closed": [port for port in request["ports"]
                       if not any(accepts(address, port) for address in request["addresses"])]}


def accepts(address: str, port: int) -> bool:
    """Tell whether something on this host listens there."""
    try:
        socket.create_connection((address, port), timeout=CONNECT_S).close()
    except OSError:
        return False
    return True


def stop(request: Json) -> Json:
    """End one fault; ``undone`` is empty when it isn't in the journal (any more).

    What takes time, and a cluster that can be reached, is done without the lock: others must be
    able to end the partition that is in its way.
    """
    path = entry_path(request["id"])
    entry = read_json(path)
    if entry is not None and entry["kind"] == "administer":
        run_back(entry, resigned=False)
        entry["undo"] = []
    with locked():
        return {"undone": undo([entry] if entry is not None and path.exists() else [])}


def heal() -> list[Json]:
    """Undo everything journalled. Rules are looked at even when nothing is journalled."""
    entries = undo(journal(), resigned=True)
    apply_cuts([])
    return entries


def disband() -> list[Json]:
    """Heal and end the run here. Both under one lock: a command of a controller that has given
    up may come late, and must find either a run that will be healed or none.
    """
    with locked():
        entries = heal()
        RUN.unlink(missing_ok=True)
    return entries


def remove(_request: Json) -> Json:
    """Heal and leave nothing behind. The resident notices, and is waited for."""
    undone = disband()
    take_life_lock().close()
    shutil.rmtree(STATE, ignore_errors=True)    # two may heal at once
    VIEW.unlink(missing_ok=True)
    return {"undone": undone}


# installation

def install(request: Json) -> Json:
    """Heal what an earlier run left, then start this run's resident.

    Hosts that another living run holds are refused: two nemeses on one host would each prove
    the other's faults.
    """
    old = read_json(RUN)
    held = old is not None and old["run"] != request["run"] and resident_lives()
    if held and not is_overdue(old):
        raise AgentError(f"run {old['run']} is at work on this host; if it is dead, heal first")
    healed = disband()
    with take_life_lock() as life, (STATE / "resident.log").open("ab") as log:
        JOURNAL.mkdir(exist_ok=True)
        PEERS.unlink(missing_ok=True)
        ALIVE.touch()
        write_json(RUN, request)
        sockets = [beacon_socket(address) for address in request["addresses"]]
        fds = [beacon.fileno() for beacon in sockets]
        subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).resolve()), "resident",
             *map(str, fds)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[life.fileno(), *fds],
            start_new_session=True, cwd="/",
        )
    return {"healed": healed, "cannot": abilities(request),
            "ports": [s.getsockname()[1] for s in sockets]}


def abilities(request: Json) -> Json:
    """Return the kinds of fault that can't work here, with the reason."""
    addresses = request["addresses"]
    cannot = {kind: why for kind, why in (
        ("shape", no_shaping()), ("clock", no_clock(request)), ("disk", no_disk(request)))
        if why is not None}
    try:
        for version in sorted({version_of(address) for address in addresses}):
            if shutil.which(TOOLS[version]) is None:
                raise AgentError(f"{TOOLS[version]} isn't installed")
            command([TOOLS[version], "-w", LOCK_WAIT_S, "-S", "INPUT"])
    except AgentError as error:
        cannot["cut"] = str(error)
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        cannot["pause"] = "pidfd_open needs Linux 5.3 and Python 3.9"
    return cannot


def examine(request: Json) -> Json:
    """Return what this host is and what can't work on it, without an installation."""
    return {"cannot": abilities(request), "python": ".".join(map(str, sys.version_info[:3])),
            "system": " ".join((os.uname().sysname, os.uname().release))}


def beacon_socket(address: str) -> socket.socket:
    """Return a socket bound to the very address that peers' rules would drop."""
    family = socket.AF_INET6 if version_of(address) == 6 else socket.AF_INET
    beacon = socket.socket(family, socket.SOCK_DGRAM)
    try:
        beacon.bind((address, 0))
    except OSError as error:
        raise AgentError(f"{address}: not an address of this host ({error.strerror})") from error
    return beacon


def take_life_lock() -> IO[str]:
    """Wait until no resident lives (it looks for its run at every beat); return its lock.

    A resident inherits the open file, and with it the lock, from ``install``: there is no
    moment in which it runs without.
    """
    life = LIFE.open("a")
    deadline = time.monotonic() + RESIDENT_WAIT_S
    while True:
        try:
            fcntl.flock(life, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return life
        except BlockingIOError:
            if time.monotonic() > deadline:
                life.close()
                raise AgentError("the old dead-man process doesn't end") from None
            time.sleep(0.01)


def resident_lives() -> bool:
    """Tell whether the resident holds its lock. Asked with a shared lock: askers don't clash."""
    with LIFE.open("a") as life:
        try:
            fcntl.flock(life, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def is_overdue(run: Json) -> bool:
    """Tell whether nobody has touched ``alive`` for the run's deadline, by the host's clock."""
    return time.time() - ALIVE.stat().st_mtime > float(run["deadline_s"])


def peers(request: Json) -> Json:
    """Write down whom the resident sends beacons to."""
    write_json(PEERS, request["peers"])
    return {}


# the resident

class Resident:
    """Beacons, and the dead-man. Time is monotonic: faults may move the wall clock.

    It wakes only to beat: what arrives in between waits in the sockets' buffers.
    """

    def __init__(self, fds: list[int]) -> None:
        self.setup = identity(RUN)
        self.run = read_json(RUN)
        self.sockets: dict[int, socket.socket] = {}
        for fd in fds:
            beacon = socket.socket(fileno=fd)
            beacon.setblocking(False)
            self.sockets[6 if beacon.family == socket.AF_INET6 else 4] = beacon
        self.token = self.run["run"].encode()
        self.peers: dict[str, tuple[socket.socket, int]] = {}
        self.told: tuple[int, int] | None = None
        self.number = 0
        self.sent: dict[str, int] = {}
        self.heard: dict[str, int] = {}
        self.touched: float | None = None
        self.deadline = 0.0

    def live(self) -> None:
        """Beat until the run's setup is gone or the deadline has passed."""
        while identity(RUN) == self.setup:
            now = time.monotonic()
            if self.is_abandoned(now) and self.has_healed(now):
                return
            self.beat()
            time.sleep(max(0.0, now + BEAT_S - time.monotonic()))

    def is_abandoned(self, now: float) -> bool:
        """Tell whether the controller has stopped touching its file."""
        touched = ALIVE.stat().st_mtime
        if touched != self.touched:
            self.touched, self.deadline = touched, now + float(self.run["deadline_s"])
        return now >= self.deadline

    def has_healed(self, now: float) -> bool:
        """Undo everything; when that fails, say why and leave it for a second later."""
        try:
            undone = disband()
        except (AgentError, OSError, subprocess.TimeoutExpired) as error:
            self.deadline = now + RETRY_S
            print(f"could not heal, will try again: {error}", flush=True)
            return False
        print(f"no controller for {self.run['deadline_s']} s: undid "
              + (", ".join(entry["name"] for entry in undone) or "nothing"), flush=True)
        return True

    def beat(self) -> None:
        """Show what was sent and heard, then send the next number to everybody.

        In this order, so that a number above the one shown was sent after the view was read,
        and what had arrived by now is in it.
        """
        told = identity(PEERS)
        if told != self.told:                   # anew when one of them has come back
            self.told = told
            self.peers = {address: (self.sockets[version_of(address)], port)
                          for address, port in read_json(PEERS) or ()}
        for beacon in self.sockets.values():
            self.receive(beacon)
        self.number += 1
        new = VIEW.with_suffix(".new")
        new.write_text(json.dumps({"number": self.number, "sent": self.sent,
                                   "heard": self.heard}))
        new.rename(VIEW)
        message = b"%s %d" % (self.token, self.number)
        for address, (beacon, port) in self.peers.items():
            with contextlib.suppress(OSError):  # not sent, so silence will prove nothing
                beacon.sendto(message, (address, port))
                self.sent[address] = self.number

    def receive(self, beacon: socket.socket) -> None:
        """Take in what has arrived; anything but a beacon of this run is ignored."""
        for _ in range(MOST_DATAGRAMS):
            try:
                message, (source, *_) = beacon.recvfrom(256)
            except OSError:                     # mostly: nothing more has arrived
                return
            token, _, number = message.partition(b" ")
            if token == self.token and source in self.peers and number.isdigit():
                self.heard[source] = int(number)


def identity(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file is replaced, or None when there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


COMMANDS = {
    function.__name__: function
    for function in (
        install, peers, cut, pause, stopped, aim, administer, gone, check, stop, remove,
        shape, shaped, clock, clocks, disk, disked, examine)
}


def main(argv: list[str]) -> int:
    """Run one command."""
    if argv[0] == "resident":
        Resident([int(fd) for fd in argv[1:]]).live()
        return 0
    if argv[0] == "strobe":
        strobe(argv[1], int(argv[2]), int(argv[3]))
        return 0
    os.environ["PATH"] += ":/usr/sbin:/sbin"    # where sshd may not look for iptables
    try:
        print(json.dumps(COMMANDS[argv[0]](json.load(sys.stdin))))
    except (AgentError, OSError, subprocess.TimeoutExpired) as error:
        print(f"nemesis agent: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
