"""A seed has the same digest on another version of Python.

Another interpreter is looked for on the PATH and where pyenv and uv keep theirs. It gets an
environment of its own, with what pip finds as it is configured on this machine, and the package
compiled from a copy of these sources: minutes.
"""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from seatrial.harness.sim.simulation import Simulation

from .sim_tests import SMALL, planned, written

ROOT = Path(__file__).resolve().parents[2]
OLDEST, NEWEST = 11, 20                 # minor versions, the last one not included
FOLDERS = ("core", "checker", "harness", "workloads", "ansible")
FILES = ("setup.py", "pyproject.toml", "VERSION", "README.md", "LICENSE", "MANIFEST.in")
MADE = shutil.ignore_patterns("*.so", "*.c", "*.cpp", "__pycache__")
SEEDS = (1, 2)
UNREACHABLE = re.compile(r"from versions: none|Connection|NameResolution|Retrying|timed out", re.I)

CAN_COMPILE = """
import ensurepip, pathlib, sysconfig, venv
assert (pathlib.Path(sysconfig.get_paths()["include"]) / "Python.h").exists()
"""
DIGESTS = """
import sys
from pathlib import Path
from seatrial.harness.launch import Request, plan
from seatrial.harness.sim.simulation import Simulation
request = Request(Path(sys.argv[1]), Path("store"), world="sim")
for seed in sys.argv[2:]:
    print(Simulation(plan(request.seeded(int(seed)))).run().digest)
"""


def others() -> Iterator[str]:
    """Yield where a Python of another minor version may be, the newest first."""
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT", home / ".pyenv"))
    for minor in range(NEWEST - 1, OLDEST - 1, -1):
        if minor == sys.version_info.minor:
            continue
        name = f"python3.{minor}"
        yield from filter(None, [shutil.which(name)])
        for folder in (pyenv / "versions", home / ".local/share/uv/python"):
            yield from map(str, sorted(folder.glob(f"*/bin/{name}"), reverse=True))


def works(python: str) -> bool:
    """Whether it runs, can make an environment and can compile for itself."""
    return subprocess.run([python, "-c", CAN_COMPILE], check=False, timeout=60,
                          capture_output=True).returncode == 0


def done(*argv: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that must find nothing of this checkout."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(argv, cwd=cwd, env=env | {"SEATRIAL_GO": "none"}, check=False,
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def must(*argv: str | Path, cwd: Path) -> str:
    """Run it; return its output, or fail with that."""
    ended = done(*argv, cwd=cwd)
    assert ended.returncode == 0, f"{argv[0]}: {ended.stdout[-3000:]}"
    return ended.stdout


def needed() -> list[str]:
    """Return what pip has to bring: to build the package, and to simulate with it."""
    said = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [*said["build-system"]["requires"], *said["project"]["dependencies"],
            *said["project"]["optional-dependencies"]["harness"]]


def installed(python: str, folder: Path) -> Path:
    """Install the package for this interpreter; return that of its environment."""
    source, place = folder / "source", folder / "environment"
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=MADE)
    for name in FILES:
        shutil.copy(ROOT / name, source / name)
    must(python, "-m", "venv", place, cwd=folder)
    inside = place / "bin" / "python"
    pip = (inside, "-m", "pip", "install", "-q", "--disable-pip-version-check")
    brought = done(*pip, "--retries", "1", *needed(), cwd=folder)
    if brought.returncode and UNREACHABLE.search(brought.stdout):
        pytest.skip(f"pip can't bring what {python} needs: {brought.stdout.splitlines()[-1]}")
    assert brought.returncode == 0, brought.stdout[-3000:]
    must(*pip, "--no-deps", "--no-build-isolation", source, cwd=folder)
    return inside


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_seed_has_one_digest_on_another_python(tmp_path: Path) -> None:
    looked_for = list(dict.fromkeys(others()))
    python = next(filter(works, looked_for), None)
    if python is None:
        pytest.skip(f"no Python 3.{OLDEST} or newer besides 3.{sys.version_info.minor} that works "
                    f"and has headers (looked at: {', '.join(looked_for) or 'none is here'})")
    here = [Simulation(planned(tmp_path, SMALL, seed)).run().digest for seed in SEEDS]
    inside = installed(python, tmp_path)
    there = must(inside, "-c", DIGESTS, written(tmp_path, SMALL), *map(str, SEEDS), cwd=tmp_path)
    version = must(inside, "--version", cwd=tmp_path).strip()
    assert there.split() == here, f"{version} ({python})"
    assert version != f"Python {sys.version.split()[0]}"
