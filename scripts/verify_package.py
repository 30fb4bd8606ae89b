"""Prove every way to install the package: wheel, source archive, editable, without Go, mutants.

Each works from a copy of the committed state in a folder of its own, with an environment of
its own, so that nothing of this checkout can help. Run by ``make nightly``; takes minutes.
"""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("core", "harness", "workloads", "checker")
NODE_ONLY = "import seatrial.core.replica, seatrial.core.wal, seatrial.core.mutants as m; "


def run(*argv: str | Path, cwd: Path, **env: str) -> str:
    """Run a command outside of the checkout; return its output, or stop showing it."""
    words = [str(word) for word in argv]
    done = subprocess.run(words, cwd=cwd, env={**os.environ, **env}, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        sys.exit(f"{done.stdout[-3000:]}\nverify_package: failed: {' '.join(words)}")
    return done.stdout


class Place:
    """A temporary folder with a copy of the source, and environments made on demand."""

    def __init__(self, top: Path) -> None:
        self.top = top

    def source(self, name: str) -> Path:
        """Return a fresh copy of what is committed."""
        folder = self.top / name
        run("git", "clone", "--quiet", "--no-hardlinks", ROOT, folder, cwd=self.top)
        return folder

    def python(self, name: str) -> Path:
        """Return the interpreter of a fresh environment."""
        run(sys.executable, "-m", "venv", self.top / name, cwd=self.top)
        return self.top / name / "bin" / "python"


def missing_from(wheel: Path, source: Path) -> list[str]:
    """Return the files of the packages that the wheel lacks (sources compiled away aside)."""
    inside = set(zipfile.ZipFile(wheel).namelist())
    wanted = [path.relative_to(source) for folder in (*FOLDERS, "ansible")
              for path in (source / folder).rglob("*")
              if path.suffix in {".py", ".pyi", ".pxd", ".yml", ".j2", ".css", ".js", ".typed"}]
    return [str(path) for path in wanted if f"seatrial/{path}" not in inside]


def check_wheel(place: Place) -> str:
    """``pip install .`` brings everything a node needs and nothing of the harness's needs."""
    source, python = place.source("wheel"), place.python("a")
    run(python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", place.top, source, cwd=place.top)
    wheel = next(place.top.glob("seatrial-*.whl"))
    if lacking := missing_from(wheel, source):
        sys.exit(f"verify_package: the wheel lacks {lacking}")
    run(python, "-m", "pip", "install", "-q", wheel, cwd=place.top)
    run(python, "-c", NODE_ONLY + "assert m.NAMES == ()", cwd=place.top)
    run(python, "-m", "pip", "install", "-q", f"{wheel}[harness,plots]", cwd=place.top)
    return run(place.top / "a/bin/seatrial", "--version", cwd=place.top)


def check_editable(place: Place) -> str:
    """``pip install -e .`` sees an edit at once."""
    source, python = place.source("editable"), place.python("b")
    run(python, "-m", "pip", "install", "-q", "-e", f"{source}[harness]", cwd=place.top)
    (source / "workloads/extra.py").write_text("X = 1\n", encoding="ascii")
    return run(python, "-c", "import seatrial.workloads.extra as e; print(e.__file__, e.X)",
               cwd=place.top)


def check_source_archive(place: Place) -> str:
    """The source archive builds the same wheel where there is no git."""
    source, python = place.source("archive"), place.python("c")
    run(python, "-m", "pip", "install", "-q", "build", cwd=place.top)
    run(python, "-m", "build", "-q", source, cwd=place.top)   # wheel made from the archive
    archive = next((source / "dist").glob("*.tar.gz"))
    if lacking := missing_from(next((source / "dist").glob("*.whl")), source):
        sys.exit(f"verify_package: the wheel from {archive.name} lacks {lacking}")
    run(python, "-m", "pip", "install", "-q", f"{archive}[harness]", cwd=place.top)
    return run(place.top / "c/bin/seatrial", "--version", cwd=place.top)


def check_without_go(place: Place) -> str:
    """Without Go the package installs, says so, and its own checker works."""
    source, python = place.source("no-go"), place.python("d")
    said = run(python, "-m", "pip", "install", "-v", f"{source}[harness]", cwd=place.top,
               SEATRIAL_GO="none")
    if "WITHOUT the porcupine engine" not in said:
        sys.exit("verify_package: the build without Go doesn't say so")
    return run(place.top / "d/bin/python", "-c", "from seatrial.checker import porcupine_engine as "
               "engine; assert not engine.available(); print(engine.ABSENT)", cwd=place.top)


def check_mutants(place: Place) -> str:
    """The wheel with the planted bugs says so in its version, and has their names."""
    source, python = place.source("mutants"), place.python("e")
    run(python, "-m", "pip", "install", "-q", source, cwd=place.top, SEATRIAL_MUTANTS="1")
    return run(python, "-c", NODE_ONLY + "from importlib.metadata import version; "
               "v = version('seatrial'); assert v.endswith('+mutants'), v; "
               "assert len(m.NAMES) >= 5; print(v, *m.NAMES)", cwd=place.top)


def check_cimport(place: Place) -> str:
    """Another project can cimport the installed .pxd files."""
    python, folder = place.top / "a/bin/python", place.top / "other"
    folder.mkdir()
    run(python, "-m", "pip", "install", "-q", "cython", "setuptools", cwd=folder)
    (folder / "d.pyx").write_text("from seatrial.core.crc cimport crc32c\n"
                                  "def f() -> int:\n    return crc32c(0, NULL, 0)\n")
    run(place.top / "a/bin/cythonize", "-i", "-3", "d.pyx", cwd=folder)
    return run(python, "-c", "import d; print('crc32c of nothing:', d.f())", cwd=folder)


def main() -> int:
    """Run all checks, printing one line for each."""
    with tempfile.TemporaryDirectory(prefix="seatrial-package-") as top:
        place = Place(Path(top))
        for check in (check_wheel, check_editable, check_source_archive, check_without_go,
                      check_mutants, check_cimport):
            said = check(place).strip().splitlines()
            print(f"{check.__name__[6:].replace('_', ' '):<16} {said[-1] if said else ''}",
                  flush=True)
    print("every way to install works" if shutil.which("go") else
          "every way to install works (there is no Go here: none was tried with porcupine)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
