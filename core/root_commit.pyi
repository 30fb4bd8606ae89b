class RootCommit:
    domain: int
    committed: int
    applied: int
