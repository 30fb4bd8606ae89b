"""In how many ways the nodes of a small cluster could have been numbered without any difference."""
from itertools import chain, permutations, product


cdef class Symmetry:
    """All numberings that map each of these groups of nodes to itself; the first is none."""

    def __cinit__(self, groups, bint used=True):
        cdef uint32_t node, name
        self.count = 0
        before = list(chain(*groups))
        for after in product(*map(permutations, groups)):
            if self.count and not used:
                break
            for node in range(64):
                self.names[self.count][node] = node
            for node, name in zip(before, chain(*after), strict=True):
                self.names[self.count][node] = name
            self.count += 1
