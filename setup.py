"""Build script: maps the top-level folders onto the import package ``seatrial``.

Static metadata lives in pyproject.toml; this file holds only what needs code: the folder
mapping, the Cython extensions, the optional Go archive (porcupine), and the second kind
of wheel, built with SEATRIAL_MUTANTS=1, that carries the planted bugs.

Environment: SEATRIAL_DEBUG=1 (line tracing, no optimisation), SEATRIAL_SANITIZE=1
(ASan and UBSan), SEATRIAL_MUTANTS=1 (planted bugs; version says ``+mutants``),
SEATRIAL_ANNOTATE=1 (Cython's HTML annotation beside the C), SEATRIAL_GO=none (do without
Go, and so without porcupine, even where there is one).
"""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from sysconfig import get_platform

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NAME = "seatrial"
FOLDERS = ("core", "harness", "workloads", "checker")
ROOT = Path(__file__).resolve().parent
os.chdir(ROOT)


def flag(name: str) -> bool:
    """Return whether the environment sets SEATRIAL_<name> to 1."""
    return os.environ.get(f"SEATRIAL_{name}") == "1"


DEBUG, SANITIZE, MUTANTS = flag("DEBUG"), flag("SANITIZE"), flag("MUTANTS")
# boundscheck and wraparound stay on: with wraparound off, ``some_list[-1]`` reads
# before the list and crashes. Kernels over C pointers turn them off one by one.
# overflowcheck stays off: it takes the arithmetic of pointers for that of integers and
# cuts them to 32 bits. SANITIZE finds overflow.
DIRECTIVES = {
    "language_level": 3,
    "embedsignature": True,
    "linetrace": DEBUG,
}
CFLAGS = ["-O0", "-g3"] if DEBUG else ["-O2", "-g1", "-fno-omit-frame-pointer"]
CFLAGS += ["-Wall", "-Wextra", "-Wno-unused-function", "-Wno-unused-parameter"]
LDFLAGS: list[str] = []
if SANITIZE:
    CFLAGS += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    LDFLAGS += ["-fsanitize=address,undefined"]
MACROS: list[tuple[str, str | None]] = [("SEATRIAL_MUTANTS", "1" if MUTANTS else "0")]
# Objects compiled with different flags must never meet: each kind of build has its own folder.
KIND = "-".join(name for name in ("debug", "sanitize", "mutants") if flag(name.upper()))
BUILD = f"build/{KIND}" if KIND else "build"
if DEBUG:  # without the last one 3.13+ reports no .pyx lines
    MACROS += [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1"),
               ("CYTHON_USE_SYS_MONITORING", "0")]


def version() -> str:
    """Return the version in pyproject's VERSION file, marked when the build holds mutants."""
    text = Path("VERSION").read_text(encoding="ascii").strip()
    return f"{text}+mutants" if MUTANTS else text


def link_tree() -> str:
    """Make build/ns/seatrial/<folder> -> <folder>, the tree Cython and mypy read.

    setuptools knows through package_dir that ``core/`` is ``seatrial.core``, but Cython
    resolves ``from seatrial.core.log cimport Log`` by looking for ``seatrial/core/log.pxd``
    on disk, so it is given a tree of links to look in.
    """
    top = ROOT / "build" / "ns" / NAME
    top.mkdir(parents=True, exist_ok=True)
    for folder in FOLDERS:
        link = top / folder
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(ROOT / folder, top), target_is_directory=True)
    return str(top.parent.relative_to(ROOT))


def packages() -> dict[str, str]:
    """Import name -> folder, for every folder that holds an __init__.py."""
    found = {
        ".".join((NAME, *init.parent.parts)): str(init.parent)
        for folder in FOLDERS
        for init in sorted(Path(folder).rglob("__init__.py"))
    }
    return found | {f"{NAME}.ansible": "ansible"}  # playbooks travel as package data


def is_cpp(pyx: Path) -> bool:
    """Return whether a .pyx file asks for C++ in its header."""
    head = pyx.read_text(encoding="utf-8")[:400]
    return re.search(r"^# distutils: *language *= *c\+\+", head, re.M) is not None


def depends(pyx: Path) -> list[str]:
    """Return what a module is built anew for, beside what Cython knows: C headers around it, and
    for the one that holds the Go archive what that is made of."""
    patterns = ["*.h"] + (["*.go", "go.mod", "go.sum"] if pyx.stem == "_porcupine" else [])
    return [str(p) for pattern in patterns for p in sorted(pyx.parent.rglob(pattern))]


def extensions() -> list[Extension]:
    """One extension per .pyx file, named after its place in the package."""
    found = [
        Extension(
            ".".join((NAME, *pyx.with_suffix("").parts)),
            [str(pyx)],
            language="c++" if is_cpp(pyx) else "c",
            extra_compile_args=CFLAGS,
            extra_link_args=LDFLAGS,
            define_macros=MACROS,
            include_dirs=[str(ROOT / "core")] if pyx.parts[0] == "core" else [],
            depends=depends(pyx),
        )
        for folder in FOLDERS
        for pyx in sorted(Path(folder).rglob("*.pyx"))
    ]
    if not found:
        raise SystemExit("no .pyx files: refusing to build a package without its core")
    return found


class BuildExt(build_ext):
    """build_ext that first builds the Go archive, and goes on without it if Go is absent.

    An editable installation takes what was compiled in place before, if it is not older than
    its sources: pip builds in a new folder each time, and would compile everything anew.
    """

    def finalize_options(self) -> None:
        super().finalize_options()
        if self.editable_mode:
            kind = f"{get_platform()}-{sys.implementation.cache_tag}"
            self.build_lib, self.build_temp = f"{BUILD}/lib.{kind}", f"{BUILD}/temp.{kind}"

    def build_extensions(self) -> None:
        for ext in list(self.extensions):
            if ext.name.endswith("._porcupine") and not self._link_go_archive(ext):
                self.extensions.remove(ext)
        super().build_extensions()

    def _link_go_archive(self, ext: Extension) -> bool:
        if os.environ.get("SEATRIAL_GO") == "none" or shutil.which("go") is None:
            self.warn("no Go: building WITHOUT the porcupine engine")
            return False
        out = Path(self.build_temp).resolve() / "porcupine"
        out.mkdir(parents=True, exist_ok=True)
        made = subprocess.run(
            ["go", "build", "-buildmode=c-archive", "-o", str(out / "porcupine.a"), "."],
            cwd=ROOT / "checker" / "porcupine", check=False, capture_output=True, text=True,
        )
        if made.returncode != 0:
            self.warn("the Go module did not build: building WITHOUT the porcupine engine\n"
                      + made.stderr)
            return False
        ext.include_dirs.append(str(out))
        ext.extra_objects.append(str(out / "porcupine.a"))
        return True


setup(
    version=version(),
    packages=sorted(packages()),
    package_dir=packages(),
    package_data={
        "": ["py.typed", "*.pyi", "*.pxd", "*.h", "*.j2", "*.css", "*.js"],
        f"{NAME}.ansible": ["**/*.yml", "**/*.j2", "*.cfg"],
    },
    cmdclass={"build_ext": BuildExt},
    options={"build": {"build_base": BUILD}},
    ext_modules=cythonize(
        extensions(),
        include_path=[link_tree()],
        build_dir=None if DEBUG else "build/cython",  # coverage wants .c beside .pyx
        compiler_directives=DIRECTIVES,
        annotate=flag("ANNOTATE"),
        nthreads=0,
    ),
)
