"""What an operation does to its key: the roles of models.py."""

cdef enum Role:
    READ = 0                # saw x
    NOT = 1                 # saw something that is not x
    WRITE = 2               # x, whatever was there
    CAS = 3                 # y, because x was there
    APPEND = 4              # adds a path to what is there
    LEFT_OUT = 5            # the search's mark
    ADD = 6
    TAKE = 7
    PEEK = 8
    REMOVE = 9
    HAS = 10
    LACKS = 11
    ALL = 12
    ACQUIRE = 13
    RELEASE = 14
    INCREASE = 15
    COUNT = 16
    RENEW = 18
