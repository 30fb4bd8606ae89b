from typing import Any

Entry = tuple[int, str, int, int, Any]
"""(time_ns, kind, a, b, detail) of a trace; -1 where there is no a or b.

kind         a           b           detail
message      sender      receiver    fields of codec.decode_message without records, sent_ns
lost         sender      receiver    the same, of a frame that did not arrive
refused      receiver    sender      why a frame was refused (sender -1: a client's)
request      connection  host        sent_ns, request, session, sequence, op, key, value, expected
response     host        connection  sent_ns, request, status, value, rindex, term
write        host        -1          (term, vote, entries) of a group write that begins
synced       host        -1          None: the group write is durable
leads        host        -1          its term
follows      host        -1          the term: it led until now
start kill power-loss pause resume   host, -1, None
broken       host        -1          why it stopped by itself, or refused to start
crash-point  host        -1          the point; a power-loss follows
part         sender      receiver    None: their connection is broken
cut          -1          -1          the pairs (receiver, sender)
impair       -1          -1          (pairs, effects)
lift         -1          -1          the handle
clock        host        -1          (jump_ns, ppm)
violation    host        -1          what was violated
"""

class Trace:
    def __init__(self, seed: int, record: bool) -> None: ...
    def digest(self) -> str: ...
    def read(self) -> list[Entry]: ...
