from .domain_invariants import DomainInvariants

class ReadInvariants:
    told: int
    writes: int
    reads: int
    old_reads: int
    drift_ppm: int
    def __init__(self, mirrors: DomainInvariants, drift_ppm: int = 0) -> None: ...
    def answered_in(self, domain: int) -> int: ...
