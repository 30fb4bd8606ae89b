"""Secrets never enter the store: values that look like one are replaced before they are written.

Two nets, because a test file is free-form: a value is hidden when its key is named like a
secret, and text is hidden from the first to the last line of a private key. The *path* of
a key file is no secret and stays readable, because a report without it can't be repeated.
"""
from __future__ import annotations

import re
from typing import Any

import msgspec
import numpy as np

HIDDEN = "[secret removed]"
SECRET_KEY = re.compile(
    r"(^|[_\-. ])(password|passwd|passphrase|secret|token|credentials?"
    r"|(private|api|access)[_\- ]?key)$",
    re.IGNORECASE,
)
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*-----|\Z)",
                         re.DOTALL)


def redacted_text(text: str) -> str:
    """Return ``text`` without private keys."""
    return PRIVATE_KEY.sub(HIDDEN, text) if "PRIVATE KEY" in text else text


def redacted(value: Any) -> Any:
    """Return a JSON-able copy of ``value`` without secrets."""
    return _walk(msgspec.to_builtins(value, str_keys=True, enc_hook=_plain))


def _plain(value: Any) -> Any:
    """Return a JSON-able value for one that isn't: numpy's numbers as numbers, the rest as text."""
    return value.item() if isinstance(value, np.generic) else repr(value)


def _walk(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: HIDDEN if item is not None and SECRET_KEY.search(key) else _walk(item)
                for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(item) for item in value]
    return redacted_text(value) if isinstance(value, str) else value
