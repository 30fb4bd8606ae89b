"""The agent as one file, to be run by a host's own Python: what is put on hosts.

A zip archive that Python runs (PEP 441). The same sources always give the same bytes, so that its
name can carry their hash: order and times are fixed, and nothing is compressed, which would make
them depend on a version of zlib, and hosts unpack at each start.
"""
from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

START = """\
import sys

from agent.commands import main

sys.exit(main(sys.argv[1:]))
"""


def pack(folder: Path) -> bytes:
    """Return an archive that holds a folder's modules as the package ``agent``, and starts it."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py"), START)
        for path in sorted(folder.glob("*.py")):
            archive.writestr(zipfile.ZipInfo(f"agent/{path.name}"), path.read_bytes())
    return held.getvalue()


ARCHIVE = pack(Path(__file__).parent / "agent")
NAME = f"agent-{hashlib.sha256(ARCHIVE).hexdigest()[:12]}.pyz"
