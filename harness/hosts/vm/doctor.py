"""What this machine can do for the world ``vm``, found out by trying."""
from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ..doctor import (
    Finding,
    Missing,
    attempt,
    check_cgroups,
    check_namespaces,
    check_root,
    check_tool,
    finding,
)
from ..lab import NEEDED_BY_VM
from . import accelerator, image
from .machine import KVM

GUEST_MB = 512


def examine_vm() -> Iterator[Finding]:
    """Try everything that ``--on vm`` needs."""
    yield finding("root", "machines", check_root)
    yield finding("namespaces", "the network between machines", check_namespaces)
    yield finding("control groups", "machines, teardown", check_cgroups)
    yield finding("TAP", "the network between machines", _tap)
    for tool, package in NEEDED_BY_VM.items():
        yield finding(tool, "machines", partial(check_tool, tool, package))
    for tool, package in image.TOOLS.items():
        yield finding(tool, "building their image", partial(check_tool, tool, package))
    yield finding("image", "machines", _image)
    yield finding("KVM", "speed: without it programs take 10 to 30 times as long", _kvm)
    yield finding("memory", "machines", _memory)


def _tap() -> str:
    return attempt("unshare", "--net", "ip", "tuntap", "add", "dev", "seatrial", "mode", "tap",
                remedy="root, and a kernel with /dev/net/tun") or "yes"


def _image() -> str:
    if image.is_built():
        return f"built: {image.folder()}"
    try:
        image.must_be_possible()
    except Exception as error:
        raise Missing(str(error), "see there") from error
    return "will be built by the first run"


def _kvm() -> str:
    """Never a reason to say no: machines are emulated then."""
    if not os.access(accelerator.DEVICE, os.R_OK | os.W_OK):
        return f"no {accelerator.DEVICE}: machines will be emulated"
    if not image.is_built():
        return f"{accelerator.DEVICE} is there; whether it works is tried when there is an image"
    works = accelerator.boots(image.folder() / "vmlinuz", KVM)
    return "boots a guest" if works else "boots no guest: machines will be emulated"


def _memory() -> str:
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free_mb = int(fields["MemAvailable"].split()[0]) >> 10
    text = f"{free_mb} MB free: room for {free_mb // GUEST_MB} machines"
    if free_mb < GUEST_MB:
        raise Missing(text, f"at least {GUEST_MB} MB")
    return text
