class Chunks:
    index: int
    term: int
    size: int
    crc: int
    complete: bool
    @property
    def capacity(self) -> int: ...
