"""A reader of EDN, the notation that Jepsen writes histories in. Only reading, and fast.

========================= =====================================================
EDN                       Python
========================= =====================================================
nil, true, false          None, True, False
1, 1N, 0x1f, 1.5, 1.5M    int, float
"text", \\c                str
:key, :ns/key             str without the colon (one object for each name)
symbol                    str
##Inf, ##-Inf, ##NaN      float
[1 2] (1 2)               list
#{1 2}                    list in an order that does not depend on how it is written
{:a 1}                    dict (a list as a key becomes a tuple)
#tag form                 the form
; comment, #_ form        nothing
========================= =====================================================

Errors are EdnError with the line on which the trouble is. Nesting is limited, so that a
malformed file can't exhaust the stack.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_SetItem
from cpython.list cimport PyList_Append
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memchr, memcmp

cdef enum:
    DEEPEST = 200
    NAMES = 512             # places in the cache of names


class EdnError(ValueError):
    """The text is not EDN. ``line`` counts from 1."""

    def __init__(self, message, line):
        self.line = line
        super().__init__(message)


cdef inline bint ends_token(char c) noexcept nogil:
    return c <= 32 or c == b"," or c in b'()[]{}";'


cdef inline bint is_digit(char c) noexcept nogil:
    return b"0" <= c <= b"9"


cdef class Reader:
    """Reads forms one after the other from bytes."""

    cdef bytes data
    cdef const char* at
    cdef const char* end
    cdef list names
    cdef list spellings

    def __init__(self, bytes data not None):
        self.data = data
        self.at = PyBytes_AS_STRING(data)
        self.end = self.at + PyBytes_GET_SIZE(data)
        self.names = [None] * NAMES
        self.spellings = [b""] * NAMES

    @property
    def line(self):
        """The line that is being read, from 1."""
        cdef Py_ssize_t read = self.at - PyBytes_AS_STRING(self.data)
        return self.data.count(b"\n", 0, read) + 1

    def more(self):
        """Whether another form follows."""
        self._skip(0)
        return self.at < self.end

    def read(self):
        """Read one form."""
        self._skip(0)
        return self._form(0)

    def events(self):
        """Read the rest as a history: maps, bare or inside of one vector.

        Returns columns (lists): type, process, f, value, key, time, line. An event without :f
        whose value is a list is a transaction's. No map is ever made: a history has millions.
        """
        cdef list types = [], processes = [], fs = [], values = [], keys = [], times = []
        cdef list lines = []
        cdef Py_ssize_t line = self.line
        cdef const char* counted = self.at
        cdef char close = 0
        self._skip(0)
        if self.at < self.end and self.at[0] in b"[(":
            close = c"]" if self.at[0] == c"[" else c")"
            self.at += 1
        while True:
            self._skip(1)
            if self.at >= self.end:
                if close:
                    raise self._error(f"the text ends where {chr(close)!r} was expected")
                break
            if close and self.at[0] == close:
                self.at += 1
                if self.more():
                    raise self._error("text after the history")
                break
            if self.at[0] == b"#":              # a record's tag
                self.at += 1
                self._name()
                self._skip(1)
            while counted < self.at:
                line += counted[0] == c"\n"
                counted += 1
            self._event(types, processes, fs, values, keys, times)
            PyList_Append(lines, line)
        return types, processes, fs, values, keys, times, lines

    cdef int _event(self, list types, list processes, list fs, list values, list keys,
                    list times) except -1:
        cdef object kind = None, process = None, f = None, value = None, key = None, time = None
        cdef object name, form
        if self.at >= self.end or self.at[0] != b"{":
            raise self._error("expected an event, a map like {:process 0, :type :invoke, ...}")
        self.at += 1
        while True:
            self._skip(1)
            if self.at < self.end and self.at[0] == b"}":
                self.at += 1
                break
            name = self._form(2)
            self._skip(1)
            form = self._form(2)
            if name == "value":
                value = form
            elif name == "type":
                kind = form
            elif name == "process":
                process = form
            elif name == "f":
                f = form
            elif name == "key":
                key = form
            elif name == "time":
                time = form
        if f is None and isinstance(value, list):
            f = "txn"
        if not isinstance(f, str):
            raise self._error("an event without :f")
        try:
            PyList_Append(types, TYPES[kind])
        except (KeyError, TypeError):
            raise self._error(f"an event of :type {kind}; expected :invoke, :ok, :fail or :info"
                              ) from None
        PyList_Append(processes, process)
        PyList_Append(fs, f)
        PyList_Append(values, value)
        PyList_Append(keys, key)
        PyList_Append(times, time)
        return 0

    cdef object _error(self, message):
        return EdnError(message, self.line)

    cdef int _skip(self, int depth) except -1:
        """Pass white space, comments and discarded forms."""
        cdef const char* stop
        while self.at < self.end:
            if self.at[0] == b";":
                stop = <const char*>memchr(self.at, b"\n", self.end - self.at)
                self.at = self.end if stop is NULL else stop
            elif self.at[0] == b"#" and self.at + 1 < self.end and self.at[1] == b"_":
                self.at += 2
                self._skip(depth + 1)
                self._form(depth + 1)
            elif self.at[0] == b"," or 0 <= self.at[0] <= 32:
                self.at += 1
            else:
                break
        return 0

    cdef object _form(self, int depth):
        cdef char c
        if self.at >= self.end:
            raise self._error("the text ends inside of a form")
        if depth > DEEPEST:
            raise self._error(f"nested deeper than {DEEPEST} forms")
        c = self.at[0]
        if c == b":":
            self.at += 1
            return self._name()
        if is_digit(c) or (c in b"+-" and self.at + 1 < self.end and is_digit(self.at[1])):
            return self._number()
        if c == b"{":
            return self._map(depth)
        if c == b"[":
            return self._list(b"]", depth)
        if c == b"(":
            return self._list(b")", depth)
        if c == b'"':
            return self._text()
        if c == b"\\":
            return self._character()
        if c == b"#":
            return self._dispatch(depth)
        if c in b")]}":
            raise self._error(f"unexpected {chr(c)!r}")
        return self._symbol()

    cdef object _name(self):
        """The rest of a token, as a str that is made only once for each name."""
        cdef const char* start = self.at
        cdef Py_ssize_t length
        cdef unsigned int place = 0
        cdef bytes spelled
        while self.at < self.end and not ends_token(self.at[0]):
            place = place * 31 + <unsigned char>self.at[0]
            self.at += 1
        length = self.at - start
        if length == 0:
            raise self._error("expected a name")
        place = (place ^ (place >> 9)) % NAMES
        spelled = <bytes>self.spellings[place]
        if (PyBytes_GET_SIZE(spelled) == length
                and memcmp(PyBytes_AS_STRING(spelled), start, length) == 0):
            return self.names[place]
        self.spellings[place] = start[:length]
        self.names[place] = PyUnicode_DecodeUTF8(start, length, "surrogateescape")
        return self.names[place]

    cdef object _symbol(self):
        cdef object name = self._name()
        if name == "nil":
            return None
        if name == "true":
            return True
        if name == "false":
            return False
        return name

    cdef object _number(self):
        cdef const char* start = self.at
        cdef long long value = 0
        cdef bint negative = self.at[0] == b"-"
        if self.at[0] in b"+-":
            self.at += 1
        while self.at < self.end and is_digit(self.at[0]) and self.at - start < 18:
            value = value * 10 + (self.at[0] - c"0")
            self.at += 1
        if self.at == self.end or ends_token(self.at[0]):
            return -value if negative else value
        while self.at < self.end and not ends_token(self.at[0]):
            self.at += 1
        return self._long_number(start[:self.at - start].decode("ascii", "replace"))

    cdef object _long_number(self, text):
        try:
            if text[-1] == "N":
                return int(text[:-1])
            if text[-1] == "M":
                return float(text[:-1])
            if "x" in text or "X" in text:
                return int(text, 16)
            return int(text) if text.lstrip("+-").isdigit() else float(text)
        except ValueError:
            raise self._error(f"{text!r} is not a number") from None

    cdef list _list(self, char close, int depth):
        cdef list items = []
        self.at += 1
        while True:
            self._skip(depth)
            if self.at >= self.end:
                raise self._error(f"the text ends where {chr(close)!r} was expected")
            if self.at[0] == close:
                self.at += 1
                return items
            PyList_Append(items, self._form(depth + 1))

    cdef dict _map(self, int depth):
        cdef dict found = {}
        cdef object key
        self.at += 1
        while True:
            self._skip(depth)
            if self.at >= self.end:
                raise self._error("the text ends where '}' was expected")
            if self.at[0] == b"}":
                self.at += 1
                return found
            key = self._form(depth + 1)
            if isinstance(key, (list, dict)):
                key = _hashable(key)
            self._skip(depth)
            if self.at < self.end and self.at[0] == b"}":
                raise self._error(f"the key {key!r} has no value")
            PyDict_SetItem(found, key, self._form(depth + 1))

    cdef object _text(self):
        cdef const char* start = self.at + 1
        cdef bint escaped = False
        self.at += 1
        while self.at < self.end and self.at[0] != b'"':
            if self.at[0] == b"\\":
                escaped = True
                self.at += 1
            self.at += 1
        if self.at >= self.end:
            self.at = start
            raise self._error("a string that begins here has no end")
        self.at += 1
        text = PyUnicode_DecodeUTF8(start, self.at - 1 - start, "surrogateescape")
        return self._unescape(text) if escaped else text

    cdef object _unescape(self, text):
        cdef list parts = []
        cdef Py_ssize_t i = 0, back
        while (back := text.find("\\", i)) >= 0:
            parts.append(text[i:back])
            mark = text[back + 1]
            i = back + 2
            if mark == "u":
                digits = text[i:i + 4]
                if len(digits) < 4 or not set(digits) <= HEXADECIMAL:
                    raise self._error(f"\\u{digits} is not a character")
                parts.append(chr(int(digits, 16)))
                i += 4
            elif mark in ESCAPES:
                parts.append(ESCAPES[mark])
            else:
                raise self._error(f"unknown escape \\{mark}")
        parts.append(text[i:])
        return "".join(parts)

    cdef object _character(self):
        self.at += 2                            # the backslash, and one character whatever it is
        cdef const char* start = self.at - 1
        while self.at < self.end and not ends_token(self.at[0]):
            self.at += 1
        if self.at > self.end:
            self.at = self.end
            raise self._error("the text ends inside of a character")
        name = PyUnicode_DecodeUTF8(start, self.at - start, "surrogateescape")
        return CHARACTERS.get(name, name)

    cdef object _dispatch(self, int depth):
        self.at += 1
        if self.at < self.end and self.at[0] == b"{":
            return _in_order(self._list(b"}", depth))
        if self.at < self.end and self.at[0] == b"#":
            self.at += 1
            return self._symbolic()
        self._name()                            # a tag: what it tags is taken as it is
        self._skip(depth)
        return self._form(depth + 1)

    cdef object _symbolic(self):
        name = self._name()
        if name not in SYMBOLIC:
            raise self._error(f"##{name} is not a number")
        return SYMBOLIC[name]


TYPES = {"invoke": 0, "ok": 1, "fail": 2, "info": 3}
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "\\": "\\", "/": "/"}
HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
SYMBOLIC = {"Inf": float("inf"), "-Inf": float("-inf"), "NaN": float("nan")}
CHARACTERS = {"newline": "\n", "space": " ", "tab": "\t", "return": "\r"}


def _hashable(form):
    if isinstance(form, list):
        return tuple(_hashable(item) for item in form)
    if isinstance(form, dict):
        return tuple(sorted(((_hashable(k), _hashable(v)) for k, v in form.items()), key=repr))
    return form


def _in_order(list members):
    """The members of a set: equal sets are equal lists."""
    try:
        members.sort()
    except TypeError:
        members.sort(key=lambda member: repr(_hashable(member)))
    return members


def loads(data):
    """Read one form from str or bytes; nothing but comments may follow."""
    reader = Reader(data.encode(errors="surrogateescape") if isinstance(data, str) else data)
    form = reader.read()
    if reader.more():
        raise EdnError("text after the form", reader.line)
    return form
