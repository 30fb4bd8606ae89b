# What can happen in a small cluster. Each names the node that takes a step, most another one too.
cdef enum Action:
    DELIVER = 1                 # the first message on the connection to it from another
    LATE = 2                    # the same, an election timeout after it heard from a leader
    SYNC = 3                    # its group write is on its disk
    TIMEOUT = 4                 # its election timer rings
    DEPOSE = 5                  # a leader has heard from no majority for two election timeouts
    HEARTBEAT = 6               # a leader's heartbeat timer rings
    PROPOSE = 7                 # a client asks a leader to append an entry
    TOGGLE = 8                  # an administrator asks it to add a voter, or to remove it
    REPLACE = 9                 # or to put a node that takes no part in the place of a voter
    TRANSFER = 10               # or to let another one lead
    SNAPSHOT = 11               # it replaces what it has committed by a snapshot
    CRASH = 12                  # it loses its power, and what is not synced
    RESTART = 13                # it starts again
    CUT = 14                    # its connection to another breaks: what is on its way is lost
    CONNECT = 15                # and is made anew
    # in a tree of domains:
    TICK = 16                   # a timer of it rings that is due
    EXCLUDE = 17                # an administrator asks the root's leader to exclude a domain
    READMIT = 18                # or to release it
    DIAL = 19                   # a domain's leader connects to a node of its parent
    UP = 20                     # a node takes the first frame of a child's leader
    DOWN = 21                   # a child's leader takes the first frame of its parent
    BREAK = 22                  # its link breaks
    BEAT = 23                   # a heartbeat's time goes by
    WAIT = 24                   # more time than any timer is set to
    # what that is for the nodes at the ends of a link:
    ACCEPT = 25
    DROP = 26
    LOSE = 27

cdef enum:
    ACTIONS = 28
    MAX_MEMBERS = 4
    MAX_NUMBERINGS = 24
    MAX_ENTRIES = 23            # of a log
    MAX_TERMS = 15
