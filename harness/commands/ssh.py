"""``seatrial ssh``: a terminal, or one command, on a lab's host."""
from __future__ import annotations

import os
import shlex
import shutil

import click

from ..errors import BadInput, HarnessFailure
from ..hosts import kernel, state
from ..hosts.keys import CLIENT_KEY, KNOWN_HOSTS


@click.command("ssh", context_settings={"ignore_unknown_options": True})
@click.option("--lab", metavar="NAME",
              help=f"The lab. [default: the only one there is, else {state.DEFAULT}]")
@click.argument("host")
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
def command(lab: str | None, host: str, argv: tuple[str, ...]) -> None:
    """Log in to a lab's host, or run one command there (its arguments arrive as given)."""
    state.require_root()
    names = state.names()
    lab = lab or (names[0] if len(names) == 1 else state.DEFAULT)
    state.check_name(lab)
    control = state.control(lab)
    known = state.read(lab)
    assert known is not None
    addresses = {address.name: address for address in known.plan.hosts}
    if host not in addresses:
        raise BadInput(f"host {host!r}: lab {lab} has {', '.join(addresses)}")
    client = shutil.which("ssh")
    if client is None:
        raise HarnessFailure("seatrial ssh needs ssh: install it with "
                             "'apt-get install openssh-client'")
    folder = state.RUN / lab
    options = {"IdentityFile": folder / CLIENT_KEY, "IdentitiesOnly": "yes",
               "UserKnownHostsFile": folder / KNOWN_HOSTS, "StrictHostKeyChecking": "yes",
               "BindAddress": known.plan.controller.ipv4, "LogLevel": "ERROR"}
    line = [client, "-F", "none",
            *(part for key, value in options.items() for part in ("-o", f"{key}={value}")),
            f"root@{addresses[host].ipv4}"]
    kernel.setns(control, kernel.CLONE_NEWNET)
    os.execv(client, line + ([shlex.join(argv)] if argv else []))
