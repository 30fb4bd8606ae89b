"""The simulated world: the real state machines of the node in one process, in virtual time."""
