"""The node: log, commit, state machine, and the shells that give them disks and sockets."""
