"""Running a command as root by sudo, with or without a password.

The password goes to the remote shell as the first line of stdin, and from there only to
``sudo -v`` in a pipe of its own. Handing it to ``sudo -S command`` directly would be simpler,
but a sudo that wants no password (NOPASSWD, or asked a moment ago) leaves the line unread, and
the command would find the password in its input. It is never an argument: ``ps`` shows those.
"""
from __future__ import annotations

from collections.abc import Sequence

REFUSED = 96
"""Exit code of the wrapper when sudo refuses the password."""
WITH_PASSWORD = f"""\
IFS= read -r secret
printf '%s\\n' "$secret" | sudo -S -p '' -v >&2 || exit {REFUSED}
unset secret
sudo -n -- "$@"
"""


def wrap(argv: Sequence[str], password: str | None) -> tuple[list[str], bytes]:
    """Return the command that runs ``argv`` as root, and what must come first on its stdin."""
    if password is None:
        return ["sudo", "-n", "--", *argv], b""
    if "\n" in password:
        raise ValueError("sudo password: holds a line break")
    return ["sh", "-c", WITH_PASSWORD, "sh", *argv], password.encode() + b"\n"


def refused(code: int, stderr: str, password: str | None) -> bool:
    """Whether a wrapped command failed because sudo said no (not the command itself)."""
    if password is not None and code == REFUSED:
        return True
    return code == 1 and stderr.startswith("sudo: ")
