"""Run the tests that work compiled code hardest, with every access to memory checked.

AddressSanitizer and UndefinedBehaviorSanitizer are compiled into the extensions, in a copy of
the source under build/sanitized: beside its .pyx a module can have one compiled form only, and
the ordinary one stays. The copy is brought up to date, not made anew, so that a second run
compiles what changed. Run by ``make sanitize``; arguments are pytest's (``-k world``).

The interpreter itself is the ordinary one: the sanitizers' library is loaded before it, and
Python's own allocator, which would hide overruns, is left out. At the end memory counts as
leaked if nothing points to it any more and this project's code asked for it; others' leaks,
of which an interpreter that ends has some, are left alone.
"""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / "build" / "sanitized"
FOUND = COPY / "build" / "found"        # what the sanitizers say, a file for each process
FOLDERS = ("core", "harness", "workloads", "checker", "ansible", "examples", "tests")
FILES = ("setup.py", "pyproject.toml", "VERSION")
MADE = {".so", ".c", ".cpp", ".pyc"}

# Tests of what is compiled. Those of processes and hosts are not among them: nodes would be
# started with a library that is not theirs.
TESTS = (
    "tests/core/test_crc.py", "tests/core/test_domain_encoding.py",
    "tests/core/test_domain_found.py", "tests/core/test_domain_invariants.py",
    "tests/core/test_domain_node.py", "tests/core/test_hostile_frames.py",
    "tests/core/test_invariants.py", "tests/core/test_kv_commands.py",
    "tests/core/test_kv_sessions.py", "tests/core/test_kv_snapshot.py", "tests/core/test_log.py",
    "tests/core/test_membership.py", "tests/core/test_quorum.py", "tests/core/test_raft.py",
    "tests/core/test_raft_chaos.py", "tests/core/test_raft_encoding.py",
    "tests/core/test_raft_membership.py", "tests/core/test_raft_snapshot.py",
    "tests/core/test_raft_snapshot_found.py", "tests/core/test_snapshot_troubles.py",
    "tests/core/test_tree.py", "tests/core/test_wal.py", "tests/core/test_wal_damage.py",
    "tests/core/test_wal_damaged_snapshots.py", "tests/core/test_wal_failures.py",
    "tests/core/test_wal_snapshots.py",
    "tests/checker",
    "tests/harness/test_rng.py", "tests/harness/test_sim_client.py",
    "tests/harness/test_sim_disk.py", "tests/harness/test_sim_domain_stress.py",
    "tests/harness/test_sim_domains.py", "tests/harness/test_sim_exhaustive.py",
    "tests/harness/test_sim_faults.py", "tests/harness/test_sim_loop.py",
    "tests/harness/test_sim_membership.py", "tests/harness/test_sim_stress.py",
    "tests/harness/test_sim_tree_changes.py", "tests/harness/test_sim_world.py",
)
OURS = "_8seatrial_"                    # in the name of each C function that Cython makes for us
FEWER = {"SEATRIAL_HISTORIES": "3000", "SEATRIAL_RAFT_SEEDS": "20", "SEATRIAL_SIM_SEEDS": "100"}


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"seatrial: {text}", flush=True)


def wanted() -> Iterator[Path]:
    """Yield the files to copy, relative to this checkout."""
    yield from map(Path, FILES)
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix not in MADE:
                yield path.relative_to(ROOT)


def bring_up_to_date() -> None:
    """Make the copy hold what this checkout does; what was compiled in it stays."""
    names = set(wanted())
    for folder in FOLDERS:
        for path in (COPY / folder).rglob("*"):
            if path.is_file() and path.suffix not in MADE and path.relative_to(COPY) not in names:
                path.unlink()
    for name in names:
        source, copy = ROOT / name, COPY / name
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)       # with a new date: what it goes into is made anew


def build() -> None:
    """Compile the copy."""
    say("compiling the extensions with sanitizers (minutes at the first time)")
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "--parallel",
               str(len(os.sched_getaffinity(0)))]
    done = subprocess.run(
        command, cwd=COPY, check=False, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "SEATRIAL_SANITIZE": "1", "SEATRIAL_GO": "none"})
    if done.returncode != 0:
        sys.exit(f"{done.stdout[-3000:]}\nsanitize: the extensions did not compile")


def library(name: str) -> str:
    """Return the path of one of the compiler's libraries."""
    found = subprocess.run(["gcc", f"-print-file-name={name}"], check=True, text=True,
                           stdout=subprocess.PIPE).stdout.strip()
    if not Path(found).is_absolute():
        sys.exit(f"sanitize: this gcc has no {name}")
    return found


def environment() -> dict[str, str]:
    """Return the environment in which the copy's tests run."""
    return {
        **os.environ, **{name: os.environ.get(name, few) for name, few in FEWER.items()},
        "PYTHONPATH": str(COPY / "build" / "ns"),
        "PYTHONMALLOC": "malloc",
        "LD_PRELOAD": f"{library('libasan.so')} {library('libstdc++.so')}",
        # a small quarantine: a test looks at how much memory is in use
        "ASAN_OPTIONS": f"log_path={FOUND}/process:quarantine_size_mb=16",
        "LSAN_OPTIONS": "exitcode=0",
        "UBSAN_OPTIONS": f"print_stacktrace=1:log_path={FOUND}/process",
    }


def findings() -> list[str]:
    """Return what the sanitizers found: errors, and leaks of what this project's code allocated."""
    found = []
    for report in sorted(FOUND.iterdir()):
        text = report.read_text(encoding="utf-8", errors="replace")
        if "LeakSanitizer" not in text:
            found.append(text)
        found += [leak for leak in re.split(r"\n\n+", text) if " leak of " in leak and OURS in leak]
    return found


def main(arguments: list[str]) -> int:
    """Copy, compile, test; return pytest's exit code, or complain of what was found."""
    bring_up_to_date()
    build()
    env = environment()
    place = subprocess.run(
        [sys.executable, "-c", "import seatrial.core.raft as it; print(it.__file__)"],
        cwd=COPY, env=env, check=True, text=True, stdout=subprocess.PIPE).stdout.strip()
    if not Path(place).is_relative_to(COPY):
        sys.exit(f"sanitize: {place} would be tested instead of the copy in {COPY}")
    shutil.rmtree(FOUND, ignore_errors=True)
    FOUND.mkdir()
    code = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not cluster and not netns",
         "-p", "no:cacheprovider", "--timeout=3600", *TESTS, *arguments],
        cwd=COPY, env=env, check=False).returncode
    if found := findings():
        print("\n\n".join(found))
        sys.exit(f"sanitize: {len(found)} findings, in {FOUND}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
