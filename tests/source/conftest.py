"""The files of the project, for the tests that read them as text."""
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IGNORED = {"build", "dist", "store", ".venv", ".git", "__pycache__", ".hypothesis"}


@pytest.fixture(scope="session")
def root() -> Path:
    """The top folder."""
    return ROOT


@pytest.fixture(scope="session")
def files() -> list[Path]:
    """Every file of the project: those git knows or would add; all of an unpacked archive."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "ls-files", "-z", "--cached",
         "--others", "--exclude-standard"], capture_output=True, check=False)
    if listed.returncode == 0:
        names = [Path(name) for name in listed.stdout.decode().split("\0") if name]
    else:
        names = [path.relative_to(ROOT) for path in ROOT.rglob("*")]
        names = [name for name in names if not IGNORED & set(name.parts)
                 and not any(part.endswith(".egg-info") for part in name.parts)]
    return sorted(ROOT / name for name in names if (ROOT / name).is_file())
