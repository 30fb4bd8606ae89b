"""The part of the nemesis that works on a host: standard library only, Python 3.9+.

The controller uploads it as one archive (archive.py) into a folder of its own, the state folder,
and runs that over SSH as root: ``python3 ARCHIVE COMMAND``, a JSON object on stdin, one on stdout;
an error is one line on stderr and exit code 1. Each command's part is loaded when it is asked for.

| command | request | does |
|---|---|---|
| install | run, addresses, controllers, deadline_s | heals leftovers, starts the resident |
| peers | peers: [[address, port]] | tells the resident whom to send beacons to |
| cut | id, name, sources | drops all packets from these addresses |
| pause | id, name, pids | SIGSTOP |
| stopped | id | returns which of these are stopped in each of their threads, and which not |
| aim | id, name, pids | journals processes that the controller is about to kill |
| gone | id | returns which of these still run |
| shape | id, name, to, netem | netem on the packets that leave for these addresses |
| shaped | | returns how many packets netem has let through and dropped |
| clock | id, name, bump_ms; or strobe_ms, period_ms | moves the wall clock, once; or to and fro |
| | or rate_ppm | lets all clocks drift |
| clocks | watch_ms | returns the clocks, in ns, and how far the wall clock was off in a while |
| disk | id, name, how, ms | puts another device-mapper target under the data disk, or fills it |
| disked | | returns how long a synced write to the data disk takes, or its error |
| administer | id, name, undo | journals the command that undoes what is about to be done |
| check | pids, addresses, ports | returns which processes and ports don't answer |
| stop | id | ends one fault; an error when its command for that fails |
| examine | addresses, clocks, disk | returns what the host is, and what can't work there |
| remove | | ends every fault in the journal, then leaves nothing behind |

**Journal.** A fault is a file in ``journal/``, on disk before the fault begins and deleted
after it was undone, so that whatever dies in between, it is known what to undo. The rules in
force are always computed from the whole journal, which makes every command idempotent and
lets cuts overlap.

**Resident.** One process per host, in a session of its own, outside the node's process group.
It is the dead-man: when the controller has not touched ``alive`` for ``deadline_s`` it undoes
the journal and exits. It sends a numbered datagram to every peer each ``BEAT_S`` and shows in
the view file the newest numbers sent to and heard from each: what the controller proves cuts
with (probe.py). It exits by itself when its run's ``run.json`` is removed or replaced. It holds
a lock while it lives, and no fault starts without it.
"""
