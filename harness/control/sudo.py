"""Running a command as root by sudo, with or without a password.

The password goes to the remote shell as the first line of stdin, and from there only to
``sudo -v`` in a pipe of its own. Handing it to ``sudo -S command`` directly would be simpler,
but a sudo that wants no password (NOPASSWD, or asked a moment ago) leaves the line unread, and
the command would find the password in its input. It is never an argument: ``ps`` shows those.

The command announces itself with ``AS_ROOT`` on stderr before it begins. What comes before is
sudo's own talk (a lecture, warnings); without it sudo refused, and that talk says why. Exit
codes and sudo's wording, which is translated, can't tell a refusal from a failed command.
"""
from __future__ import annotations

from collections.abc import Sequence

AS_ROOT = b"seatrial: root\n"
ANNOUNCED = ["sh", "-c", "echo 'seatrial: root' >&2; exec \"$@\"", "sh"]
WITH_PASSWORD = """\
IFS= read -r secret
printf '%s\\n' "$secret" | sudo -S -p '' -v >&2 || exit
unset secret
sudo -n -- "$@"
exit $?
"""
# No exec for the second sudo: without a terminal, what the first one earned counts for children
# of the same shell.


def wrap(argv: Sequence[str], password: str | None) -> tuple[list[str], bytes]:
    """Return the command that runs ``argv`` as root, and what must come first on its stdin."""
    if password is None:
        return ["sudo", "-n", "--", *ANNOUNCED, *argv], b""
    if "\n" in password:
        raise ValueError("sudo password: holds a line break")
    return ["sh", "-c", WITH_PASSWORD, "sh", *ANNOUNCED, *argv], password.encode() + b"\n"


def split_stderr(raw: bytes) -> tuple[bytes, bytes | None]:
    """Return what sudo said, and the command's own stderr or None if sudo refused."""
    said, announced, stderr = raw.partition(AS_ROOT)
    return said, stderr if announced else None
