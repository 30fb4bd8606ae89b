"""Wheels made on the controller, because hosts have no Internet and no build tools.

A host gets exactly what this controller runs and was tested with: every distribution that a
node needs is packed back into a wheel from the files that pip installed here (PEP 376's
RECORD lists them; a wheel is those files and their metadata in a zip, PEP 427). Nothing is
downloaded. The node's own wheel holds ``seatrial.core`` as it is imported here.

The second kind, with the planted bugs, can't come from what is installed: a normal build
holds none of them. It is compiled from the source tree with SEATRIAL_MUTANTS=1, away from
that tree, so that a build going on there is not disturbed.
"""
from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from importlib import metadata, util
from pathlib import Path

from seatrial.harness.errors import BadInput, HarnessFailure
from seatrial.harness.results import seatrial_version

NAME = "seatrial"
SKIPPED = ("__pycache__", "RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
SOURCES = (".py", ".pyi", ".pyx", ".pxd", ".h")
BUILD_FILES = ("setup.py", "pyproject.toml", "VERSION", "README.md", "LICENSE")
MUTANT_HEADER = "core/mutant.h"
BUILD_TIMEOUT_S = 900
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same files give the same wheel

Files = Iterable[tuple[str, Path]]


def pack(folder: Path, name: str, version: str, tag: str, files: Files) -> Path:
    """Write a wheel of ``files`` (name inside, path here), with its RECORD."""
    stem = f"{re.sub(r'[-_.]+', '_', name)}-{version}"
    path = folder / f"{stem}-{tag}.whl"
    record = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as wheel:
        for inside, source in files:
            data = source.read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
            record.append(f"{inside},sha256={digest.decode()},{len(data)}\n")
            wheel.writestr(zipfile.ZipInfo(inside, EPOCH), data, zipfile.ZIP_DEFLATED, 1)
        inside = f"{stem}.dist-info/RECORD"
        wheel.writestr(zipfile.ZipInfo(inside, EPOCH), f"{''.join(record)}{inside},,\n")
    return path


def repack(folder: Path, dist: metadata.Distribution) -> Path:
    """Write the wheel of a distribution that is installed here."""
    listed = dist.files
    tags = re.findall(r"^Tag: *(\S+)", dist.read_text("WHEEL") or "", re.M)
    if not listed or not tags:
        raise HarnessFailure(
            f"{dist.name} was not installed by pip, so it can't be packed for the hosts: "
            f"expected it as a wheel (pip install --force-reinstall {dist.name})"
        )
    files = (
        (str(file), Path(str(file.locate())))
        for file in listed
        if not str(file).startswith("..") and not any(part in SKIPPED for part in file.parts)
    )
    return pack(folder, dist.name, dist.version, tags[0], files)


def needed() -> list[metadata.Distribution]:
    """Return what a node needs besides itself, and what that needs, in a stable order."""
    found: dict[str, metadata.Distribution] = {}
    asked = list(_base_dependencies())
    while asked:
        requirement = asked.pop()
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        assert name is not None, requirement
        key = re.sub(r"[-_.]+", "-", name[0]).lower()
        if key in found or re.search(r"extra *==", requirement):
            continue
        try:
            found[key] = dist = metadata.distribution(key)
        except metadata.PackageNotFoundError:
            if ";" in requirement:  # its marker excludes this Python or platform
                continue
            raise HarnessFailure(f"{key} is not installed here, but a node needs it") from None
        asked += dist.requires or []
    return [found[key] for key in sorted(found)]


def _base_dependencies() -> Iterator[str]:
    """Yield the base dependencies as pyproject.toml states them, or the installed metadata."""
    tree = source_tree()
    if tree is None:
        yield from metadata.requires(NAME) or ()
        return
    project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))
    yield from project["project"]["dependencies"]


def core_folder() -> Path:
    """Return the folder that ``seatrial.core`` is imported from."""
    spec = util.find_spec(f"{NAME}.core")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]).resolve()


def source_tree() -> Path | None:
    """Return the root of the source tree that runs here, or that is the current folder."""
    for root in (core_folder().parent, Path.cwd()):
        if all((root / file).is_file() for file in ("setup.py", "VERSION", MUTANT_HEADER)):
            return root
    return None


def platform_tag() -> str:
    """Return the tag of wheels compiled by this Python, for this machine."""
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return f"{python}-{python}-{re.sub(r'[-.]', '_', sysconfig.get_platform())}"


def node_files() -> list[tuple[str, Path]]:
    """Return the files of ``seatrial.core`` as it is imported here: modules, no sources."""
    root = core_folder()
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    for pyx in root.glob("*.pyx"):
        built = pyx.with_name(pyx.stem + suffix)
        if not built.exists() or built.stat().st_mtime_ns < pyx.stat().st_mtime_ns:
            raise HarnessFailure(f"{pyx}: newer than its compiled module; build it first "
                                 "(python setup.py build_ext --inplace)")
    return [
        (f"{NAME}/core/{path.relative_to(root)}", path)
        for path in sorted(root.rglob("*"))
        if path.suffix == ".py" or path.name.endswith(suffix)
    ]


def mutant_sources() -> tuple[Path, list[Path]]:
    """Return the source tree and the files in it that a wheel with planted bugs is made of."""
    root = source_tree()
    if root is None:
        raise BadInput(
            "planted bugs need seatrial's source tree, because a normal build holds none: "
            "call seatrial from inside the checkout"
        )
    core = [path for path in sorted((root / "core").rglob("*")) if path.suffix in SOURCES]
    return root, [*(root / file for file in BUILD_FILES if (root / file).exists()), *core]


def build_mutants(folder: Path) -> Path:
    """Compile the wheel with planted bugs into ``folder``."""
    root, files = mutant_sources()
    work = folder / "build"
    translated = [path for path in root.glob("build/cython/core/*") if path.is_file()]
    for file in [*files, *translated]:  # the same C serves both builds, where it is up to date
        copy = work / file.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
    for empty in ("ansible", "harness", "workloads", "checker"):
        (work / empty).mkdir()
    command = ["setup.py", "-q", "build_ext", f"-j{os.cpu_count()}", "bdist_wheel", "-d", ".."]
    try:
        built = subprocess.run(
            [sys.executable, *command], cwd=work, check=False, capture_output=True, text=True,
            timeout=BUILD_TIMEOUT_S, env={**os.environ, "SEATRIAL_MUTANTS": "1"},
        )
    except subprocess.TimeoutExpired:
        raise HarnessFailure(f"the build with planted bugs took over {BUILD_TIMEOUT_S} s") from None
    wheels = list(folder.glob("seatrial-*.whl"))
    if built.returncode != 0 or len(wheels) != 1:
        reason = (built.stderr.strip().splitlines() or ["no output"])[-1]
        raise HarnessFailure(f"the build with planted bugs failed: {reason}")
    shutil.rmtree(work)
    return wheels[0]


def mutant_names() -> list[str]:
    """Return the planted bugs that such a build would hold, as the node's sources list them."""
    root, _ = mutant_sources()
    header = (root / MUTANT_HEADER).read_text(encoding="ascii")
    return re.findall(r'"([a-z-]+),?"', header)


def pack_node(folder: Path) -> Path:
    """Write the node's wheel from ``seatrial.core`` as it is imported here."""
    version = seatrial_version()
    info = folder / "METADATA"
    info.write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\n", encoding="utf-8")
    inside = f"{NAME}-{version}.dist-info/METADATA"
    path = pack(folder, NAME, version, platform_tag(), [*node_files(), (inside, info)])
    info.unlink()
    return path
