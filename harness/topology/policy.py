"""A parent's policy: which of its sync children must confirm what it acknowledges.

``all`` of them, ``any K of [...]``, or ``none``.
"""
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

ANY = re.compile(r"any\s+([0-9]{1,9})\s+of\s+\[([^\[\]]*)\]")
EXPECTED = "all, none, or any K of [DOMAIN, ...]"


@dataclass(frozen=True, slots=True)
class Policy:
    """needed, among: of ``any needed of [among]``."""

    kind: Literal["all", "any", "none"]
    needed: int = 0
    among: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.kind != "any":
            return self.kind
        return f"any {self.needed} of [{', '.join(self.among)}]"


ALL, NONE = Policy("all"), Policy("none")


def parse(text: str) -> Policy:
    """Return what a policy's text means; ValueError if it is none."""
    text = text.strip()
    if text in ("all", "none"):
        return ALL if text == "all" else NONE
    found = ANY.fullmatch(text)
    if found is None:
        raise ValueError(f"expected {EXPECTED}, got {text!r}")
    names = [name.strip() for name in found[2].split(",")]
    return Policy("any", int(found[1]), tuple(filter(None, names)))
