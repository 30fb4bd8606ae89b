"""The history: one row per event, columnar, streamed to disk while a run goes on.

Arrow IPC stream, zstd, a batch each 4,096 rows or 250 ms, so that it is readable up to the
last whole batch after the writer was killed. The checker owns the format because it must be
able to judge a history without the harness.

=========== ============================ ==================================================
column      type                         meaning
=========== ============================ ==================================================
index       int64                        position in the history
time        int64                        ns since the start of the run (due time of an invoke)
process     int32                        logical process; -1 is the nemesis
type        int8                         0 invoke, 1 ok, 2 fail, 3 info
f           dictionary<int16, string>    what was done
key         binary or null               independent key
value       int64 or null                the value when it is an integer
value_ext   binary or null               msgpack of the value when it is neither null nor int64
node        int16                        index of the node talked to, -1 unknown
domain      int16                        domain of that node
rindex      int64 or null                root index that the answer reflects
epoch, term int64 or null                as the answer carried them
error       dictionary<int16, string>    why it did not succeed, or null
=========== ============================ ==================================================

Schema metadata: ``seatrial.version`` (of this format), ``seatrial.seed``, ``seatrial.test``
(JSON of the test).

Operations of the register, CAS and KV workloads, per key (values are ints or null):
``read``: invoke null, ok the value (null: absent). ``write``: the value. ``cas``:
invoke ``[old, new]``, ok ``[old, new]``, fail ``[old, new, seen]``: a failed CAS says what it
saw, so it is an observation, not a lost operation. ``append``: the element; reads then
answer a list. ``delete``: null.
"""
from __future__ import annotations

VERSION = 1
INVOKE, OK, FAIL, INFO = 0, 1, 2, 3
NEMESIS = -1
