class SnapshotWriter:
    active: bool
    index: int
    offset: int
    crc: int

class SnapshotReader:
    index: int
    now_ns: int

def _arm(mutant: int) -> None: ...
