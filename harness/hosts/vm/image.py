"""The image that virtual machines start from: Debian with its cloud kernel, built here.

mmdebstrap downloads and unpacks the packages from the mirror that this machine's own apt uses
(or SEATRIAL_MIRROR: a URL or a line of sources.list), files of our own are added (guest.py), and
mke2fs makes a disk of the tree; nothing is booted. Kernel and initial ramdisk lie beside the disk,
because QEMU loads them itself: there is no boot loader.

    /var/cache/seatrial/vm/image-<digest>/    root.img  vmlinuz  initrd.img

The digest is that of the recipe, so a change of ours makes another image and an old one is never
used by mistake. Packages are those of the day it was built: remove the folder for newer ones.
An image appears whole, by a rename; one builder at a time.
"""
from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ...errors import HarnessFailure
from ..keeper import ENVIRONMENT
from . import guest

CACHE = Path("/var/cache/seatrial/vm")
SUITE = "bookworm"                  # its Python, 3.11, is the one that wheels are built for
SIZE_MB = 2048                      # of the root disk; sparse
NEEDS_BYTES = 3 << 30               # while it is built
BUILD_TIMEOUT_S = 1800.0
FORMAT = 1                          # raised when the building itself changes
TOOLS = {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs"}
# A small initial ramdisk: what our machines have, loaded before anything waits for it.
MODULES = "virtio_pci\nvirtio_blk\next4\nvirtio_net\nvirtio_console\ndm-mod\n"
INITRAMFS = {"/etc/initramfs-tools/conf.d/seatrial": "MODULES=list\nCOMPRESS=lz4\nRESUME=none\n",
             "/usr/share/initramfs-tools/modules.d/seatrial": MODULES}
PARTS = ("root.img", "vmlinuz", "initrd.img")
Say = Callable[[str], None]


def digest() -> str:
    """Return the name of the image that this version of the harness wants."""
    recipe = (FORMAT, SUITE, SIZE_MB, guest.PACKAGES, guest.FILES, guest.EXECUTABLE, guest.MASKED,
              guest.ENABLED, INITRAMFS)
    return hashlib.sha256(msgspec.json.encode(recipe)).hexdigest()[:16]


def folder(name: str | None = None) -> Path:
    """Return where an image lies, built or not."""
    return CACHE / f"image-{name or digest()}"


def is_built() -> bool:
    """Return whether the image is there."""
    return folder().is_dir()


def ensure(say: Say) -> Path:
    """Return the image's folder; build it first where it isn't there. say: what takes long."""
    found = folder()
    if found.is_dir():
        return found
    must_be_possible()
    with building(found) as young:
        if young is not None:
            say(f"building the image for virtual machines ({found}); some minutes, once")
            build(young)
    return found


@contextmanager
def building(wanted: Path) -> Iterator[Path | None]:
    """Give a folder to fill, which becomes ``wanted`` at the end; None where another process
    made it meanwhile. What builders left that were killed is removed."""
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        lock = (CACHE / "lock").open("a")
    except OSError as error:
        raise HarnessFailure(f"{CACHE}: {error.strerror}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in CACHE.glob(".young-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if wanted.is_dir():
            yield None
            return
        young = CACHE / f".young-{wanted.name}"
        young.mkdir(mode=0o700)
        try:
            yield young
            young.rename(wanted)
        except OSError as error:
            raise HarnessFailure(f"{wanted}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(young, ignore_errors=True)


def must_be_possible() -> None:
    """Raise HarnessFailure where tools or space are missing."""
    for tool, package in TOOLS.items():
        if shutil.which(tool, path=ENVIRONMENT["PATH"]) is None:
            raise HarnessFailure(f"the image of virtual machines needs {tool}: install it with "
                                 f"'apt-get install {package}'")
    top = next(path for path in (CACHE, *CACHE.parents) if path.exists())
    free = shutil.disk_usage(top).free
    if free < NEEDS_BYTES:
        raise HarnessFailure(f"{top}: {free / 2**30:.1f} GiB free, but the image of virtual "
                             f"machines needs {NEEDS_BYTES >> 30} GiB while it is built")


def build(young: Path) -> None:
    """Make the parts of the image in a folder."""
    root = young / "root"
    _run("mmdebstrap", *bootstrap_options(), SUITE, str(root), *mirrors())
    furnish(root)
    for link, name in (("vmlinuz-*", "vmlinuz"), ("initrd.img-*", "initrd.img")):
        newest = sorted((root / "boot").glob(link))[-1]
        shutil.move(newest, young / name)
    _run("mke2fs", "-q", "-t", "ext4", "-L", "root", "-E", "lazy_itable_init=0",
         "-d", str(root), str(young / "root.img"), f"{SIZE_MB}M")
    shutil.rmtree(root)


def bootstrap_options() -> list[str]:
    """Return mmdebstrap's options: what to install, what to leave out, and how apt gets out."""
    initramfs = "; ".join(
        f'mkdir -p "$1{Path(path).parent}"; printf "{text}" >"$1{path}"'.replace("\n", "\\n")
        for path, text in INITRAMFS.items())
    return ["--variant=minbase", "--mode=root", "--quiet", f"--include={','.join(guest.PACKAGES)}",
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")),
            *(f"--aptopt={line}" for line in _apt_proxies()), f"--setup-hook={initramfs}"]


def mirrors() -> list[str]:
    """Return where packages come from: the setting, or else this machine's own sources."""
    if given := os.environ.get("SEATRIAL_MIRROR"):
        return [given]
    sources = [Path("/etc/apt/sources.list"),
               *sorted(Path("/etc/apt/sources.list.d").glob("*.list")),
               *sorted(Path("/etc/apt/sources.list.d").glob("*.sources"))]
    found = [str(path) for path in sources if path.is_file()
             and SUITE in path.read_text("utf-8", "replace")]
    return found            # none, on another distribution: mmdebstrap's own default


def _apt_proxies() -> list[str]:
    """Return this machine's settings of how apt reaches a mirror; mmdebstrap ignores them else."""
    done = subprocess.run(["apt-config", "dump", "Acquire"], env=ENVIRONMENT, check=False,
                          capture_output=True, text=True) if shutil.which("apt-config") else None
    lines = done.stdout.splitlines() if done else []
    return [line.rstrip(";") for line in lines if "::Proxy" in line and '""' not in line]


def furnish(root: Path) -> None:
    """Add our own files; take away what every machine must have of its own."""
    for path, text in guest.FILES.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_text(text)
        target.chmod(0o755 if path in guest.EXECUTABLE else 0o644)
    units = root / "etc/systemd/system"
    for name in guest.MASKED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    (units / "multi-user.target.wants").mkdir(parents=True, exist_ok=True)
    for name in guest.ENABLED:
        (units / "multi-user.target.wants" / name).symlink_to(f"../{name}")
    ssh = root / "etc/ssh"
    (ssh / "ssh_host_ed25519_key").rename(ssh / "host_key")     # sshd starts with some key
    for key in ssh.glob("ssh_host_*"):
        key.unlink()
    shadow = root / "etc/shadow"                                # "!" would refuse keys too
    shadow.write_text(shadow.read_text().replace("root:!", "root:*", 1))
    (root / "etc/machine-id").write_text("")
    (root / "data").mkdir(exist_ok=True)


def _run(*argv: str) -> None:
    try:
        done = subprocess.run(argv, env=ENVIRONMENT | _proxies(), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace", check=False,
                              timeout=BUILD_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise HarnessFailure(f"{argv[0]}: not done within {BUILD_TIMEOUT_S:g} s") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith(("E:", "Err"))] \
            or done.stderr.strip().splitlines() or ["no message"]
        raise HarnessFailure(f"the image of virtual machines: {argv[0]}: {lines[0].strip()}")


def _proxies() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
