"""What commands do and answer, one state machine at a time."""
from __future__ import annotations

import pytest

from seatrial.core import commands
from seatrial.core.codec import OPS
from tests.core.kv_tools import Log, S, command


def number(value: bytes | None) -> int:
    return int.from_bytes(value or b"", "little", signed=True)


def test_a_counter_starts_at_zero_and_answers_what_it_is_now() -> None:
    log = Log()
    me = log.open()
    assert [number(log.do(me, "add", b"n", commands.encode_i64(delta))[1])
            for delta in (5, -8, 0, 1 << 62)] == [5, -3, -3, (1 << 62) - 3]
    assert commands.decode_i64(log.kv.get(b"n")) == (1 << 62) - 3


def test_a_counter_that_would_overflow_stays_what_it_is() -> None:
    log = Log()
    me = log.open()
    for extreme, delta in (((1 << 63) - 1, 1), (-1 << 63, -1)):
        value = commands.encode_i64(extreme)
        log.do(me, "write", b"n", value)
        assert log.do(me, "add", b"n", commands.encode_i64(delta)) == ("overflow", value)
        assert log.kv.get(b"n") == value


def test_what_is_no_counter_is_not_added_to() -> None:
    log = Log()
    me = log.open()
    log.do(me, "write", b"n", b"12")
    assert log.do(me, "add", b"n", commands.encode_i64(1)) == ("not-a-counter", b"12")
    assert log.do(me, "add", b"m", b"1") == ("bad-request", None)
    assert log.kv.items() == {b"n": b"12"}


def test_a_scan_answers_a_range_in_order_and_where_to_go_on() -> None:
    log = Log()
    me = log.open()
    for key in (b"b", b"a\xff", b"c", b"a", b"", b"d"):
        log.do(me, "write", key, b"=" + key)
    log.do(me, "delete", b"c")
    everything = [b"", b"a", b"a\xff", b"b", b"d"]

    def scan(begin: bytes, end: bytes = b"", limit: int = 0) -> commands.Page:
        return commands.decode_page(log.ask("scan", begin, commands.encode_scan(end, limit))[1])

    assert scan(b"") == ([(key, b"=" + key) for key in everything], None)
    assert [key for key, _ in scan(b"a", b"b").items] == [b"a", b"a\xff"]
    assert scan(b"a", b"d", 2).more == b"b"
    assert scan(b"b", b"d", 1) == ([(b"b", b"=b")], None)
    assert scan(b"e") == ([], None)
    assert log.ask("scan", b"a", b"xx") == ("bad-request", None)


def test_a_scan_is_bounded_in_bytes_and_pages_add_up_to_the_whole() -> None:
    log = Log()
    me = log.open()
    log.do(me, "write", b"\0", bytes(3 << 20))
    for i in range(40):
        log.do(me, "write", b"%04d" % i, bytes(100_000))
    at: bytes | None = b""
    seen: list[bytes] = []
    sizes = []
    while at is not None:
        status, value = log.ask("scan", at, commands.encode_scan(b"", 0))
        assert status == "ok"
        assert value is not None
        sizes.append(len(value))
        page = commands.decode_page(value)
        seen += [key for key, _ in page.items]
        at = page.more
    assert seen == [b"\0"] + [b"%04d" % i for i in range(40)]
    assert max(sizes[1:]) <= (1 << 20) + 100
    assert len(sizes) == 5


def transact(log: Log, me: int, when: list[commands.Part], then: list[commands.Part],
             otherwise: list[commands.Part]) -> tuple[str, commands.Transacted]:
    status, value = log.do(me, "transact", b"", commands.encode_transaction(when, then, otherwise))
    return status, commands.decode_transacted(value)


def test_a_transaction_does_one_list_if_all_compares_hold_and_the_other_if_not() -> None:
    log = Log()
    me = log.open()
    log.do(me, "write", b"a", b"1")
    when = [commands.is_value(b"a", b"1"), commands.is_absent(b"b"), commands.is_present(b"a")]
    then = [commands.get(b"a"), commands.put(b"b", b"2"), commands.append(b"b", b"3"),
            commands.get(b"b"), commands.delete(b"a"), commands.get(b"a"), commands.add(b"n", 7)]
    otherwise = [commands.get(b"b")]
    assert transact(log, me, when, then, otherwise) == ("ok", (True, [
        ("ok", b"1"), ("ok", None), ("ok", None), ("ok", b"23"), ("ok", None), ("ok", None),
        ("ok", commands.encode_i64(7))]))
    for failing in when:
        assert transact(log, me, [failing], then, otherwise) == ("ok", (False, [("ok", b"23")]))
    assert log.kv.items() == {b"b": b"23", b"n": commands.encode_i64(7)}


@pytest.mark.parametrize(("last", "status"), [
    (commands.add(b"text", 1), "not-a-counter"),
    (commands.add(b"full", 1), "overflow"),
    (commands.put_if_token(b"guarded", b"x", 4), "stale-token"),
    (commands.part("cas", b"text", b"x", b"y"), "cas-mismatch"),
])
def test_a_command_that_fails_undoes_all_before_it(last: commands.Part, status: str) -> None:
    log = Log()
    me = log.open()
    log.do(me, "write", b"text", b"t")
    log.do(me, "write", b"full", commands.encode_i64((1 << 63) - 1))
    log.do(me, "write-if-token", b"guarded", b"g", commands.encode_u64(5))
    before, hashed = log.kv.items(), log.kv.keys_hash()
    changes = [commands.put(b"new", b"n"), commands.delete(b"text"), commands.delete(b"guarded"),
               commands.put(b"text", b"t"), commands.append(b"full", b"y"), commands.put(
                   b"full", commands.encode_i64((1 << 63) - 1)),
               commands.put_if_token(b"guarded", b"h", 9), commands.add(b"n", 1)]
    said, answers = transact(log, me, [], [*changes, last], [])
    assert (said, answers.answers[-1].status, len(answers.answers)) == ("not-transacted", status, 9)
    assert log.kv.items() == before
    assert log.kv.keys_hash() == hashed
    assert log.do(me, "write-if-token", b"guarded", b"z", commands.encode_u64(6))[0] == "ok"


def test_a_transaction_whose_answer_is_too_large_does_nothing() -> None:
    log = Log()
    me = log.open()
    log.do(me, "write", b"a", bytes(600_000))
    parts = [commands.put(b"b", b"1"), commands.get(b"a"), commands.get(b"a")]
    assert log.do(me, "transact", b"", commands.encode_transaction([], parts, [])) == (
        "too-large", None)
    assert log.kv.get(b"b") is None


def test_malformed_transactions_are_refused_whatever_their_bytes() -> None:
    log = Log()
    me = log.open()
    good = commands.encode_transaction(
        [commands.is_value(b"a", b"1")], [commands.put(b"b", b"2")], [commands.delete(b"c")])
    for cut in range(len(good)):
        assert log.do(me, "transact", b"", good[:cut]) == ("bad-request", None)
    assert log.do(me, "transact", b"", good + b"\0") == ("bad-request", None)
    for op in ("transact", "acquire", "scan", "open-session", "ping", "is-value"):
        bad = bytes((0, 0, 1, 0, 0, 0, 0, 0)) + command(op, b"k", b"")
        assert log.do(me, "transact", b"", bad) == ("bad-request", None), op
    too_many = bytes((0, 0, 129, 0, 0, 0, 0, 0)) + command("delete", b"k") * 129
    assert log.do(me, "transact", b"", too_many) == ("bad-request", None)
    with pytest.raises(ValueError, match="129 parts"):
        commands.encode_transaction([], [commands.delete(b"k")] * 129, [])
    assert log.kv.items() == {}


def test_an_older_token_is_refused_even_after_the_key_was_deleted() -> None:
    log = Log()
    me = log.open()

    def guarded(value: bytes, token: int) -> tuple[str, bytes | None]:
        return log.do(me, "write-if-token", b"k", value, commands.encode_u64(token))

    assert guarded(b"five", 5)[0] == "ok"
    assert guarded(b"four", 4) == ("stale-token", commands.encode_u64(5))
    assert guarded(b"five again", 5)[0] == "ok"
    log.do(me, "delete", b"k")
    assert log.kv.get(b"k") is None
    assert log.kv.items() == {}
    assert guarded(b"four", 4)[0] == "stale-token"
    log.do(me, "write", b"k", b"by anybody")
    assert guarded(b"four", 4)[0] == "stale-token"
    assert log.do(me, "cas", b"k", b"", b"by anybody")[0] == "ok"
    assert guarded(b"six", 6)[0] == "ok"
    assert guarded(b"none", 0) == ("bad-request", None)
    assert log.do(me, "write-if-token", b"k", b"", b"short") == ("bad-request", None)


def test_a_retried_command_is_answered_as_it_was_then() -> None:
    log = Log()
    me = log.open()
    first = log.do(me, "add", b"n", commands.encode_i64(2))
    assert log.do(me, "add", b"n", commands.encode_i64(2), sequence=1) == first
    log.do(me, "add", b"n", commands.encode_i64(2))
    assert log.do(me, "add", b"n", commands.encode_i64(2), sequence=1) == ("unknown", None)
    assert commands.decode_i64(log.kv.get(b"n")) == 4


@pytest.mark.parametrize("op", sorted(OPS))
def test_no_command_of_any_shape_stops_the_machine(op: str) -> None:
    log = Log()
    me = log.open()
    for key in (b"", b"k" * 300):
        for value in (b"", b"x", bytes(8), bytes(9), b"\xff" * 40):
            for expected in (None, b"", bytes(8), b"\xff" * 40):
                log.do(me, op, key, value, expected)
    log.entry("command", b"short", client=me, sequence=10_000)
    log.clock(5 * S)


# ---- locks


def lock(log: Log, me: int, holder: bytes, ttl_s: float = 10, name: bytes = b"l"
         ) -> tuple[str, bytes | None]:
    return log.do(me, "acquire", name, commands.encode_acquire(holder, ttl_s))


def holder(log: Log, name: bytes = b"l") -> commands.Holder | None:
    return commands.decode_holder(log.ask("holder", name)[1])


def test_a_lock_has_one_holder_and_its_tokens_only_grow() -> None:
    log = Log()
    me = log.open()
    status, first = lock(log, me, b"a")
    assert (status, first) == ("ok", commands.encode_u64(log.index))
    status, said = lock(log, me, b"b")
    assert status == "lock-held"
    found = commands.decode_holder(said)
    assert found is not None
    assert (found.holder, found.token) == (b"a", commands.decode_u64(first))
    assert lock(log, me, b"a") == ("ok", first), "again by its holder"
    assert log.do(me, "release", b"l", first or b"") == ("ok", None)
    assert holder(log) is None
    assert log.do(me, "release", b"l", first or b"") == ("lock-lost", None)
    status, second = lock(log, me, b"a")
    assert status == "ok"
    assert commands.decode_u64(second) > commands.decode_u64(first)
    assert log.do(me, "keep-alive", b"l", first or b"") == ("lock-lost", None)


def test_a_lock_ends_by_log_time_and_not_before_its_time() -> None:
    """Its time begins with the first CLOCK after the entry: that one was proposed later."""
    log = Log()
    me = log.open()
    log.clock(100 * S)
    lock(log, me, b"a", 10)
    found = holder(log)
    assert found is not None
    assert (found.ttl_ns, found.left_ns) == (10 * S, 10 * S)
    log.clock(101 * S)
    log.clock(111 * S - 1)
    found = holder(log)
    assert found is not None
    assert found.left_ns == 1
    log.clock(50 * S)                       # time never goes back
    assert holder(log) == found
    log.clock(111 * S)
    assert holder(log) is None
    assert log.kv.lock_count() == 0
    assert lock(log, me, b"b")[0] == "ok"


def test_keeping_alive_begins_the_time_anew() -> None:
    log = Log()
    me = log.open()
    token = lock(log, me, b"a", 10)[1] or b""
    for now in range(1, 40):
        log.clock(now * 5 * S)
        assert log.do(me, "keep-alive", b"l", token) == ("ok", None)
    log.clock(200 * S)
    log.clock(209 * S)
    assert holder(log) is not None
    log.clock(210 * S)
    assert holder(log) is None
    assert log.do(me, "keep-alive", b"l", token) == ("lock-lost", None)


def test_a_lock_that_was_released_and_taken_again_has_all_its_time() -> None:
    log = Log()
    me = log.open()
    first = lock(log, me, b"a", 5)[1] or b""
    log.clock(1 * S)
    log.do(me, "release", b"l", first)
    lock(log, me, b"b", 5)
    log.clock(2 * S)
    log.clock(6 * S)
    found = holder(log)
    assert found is not None
    assert (found.holder, found.left_ns) == (b"b", 1 * S)


def test_locks_that_make_no_sense_are_refused() -> None:
    log = Log()
    me = log.open()
    for value in (b"", b"short", bytes(8) + b"me", b"\xff" * 8 + b"me"):
        assert log.do(me, "acquire", b"l", value) == ("bad-request", None)
    assert log.do(me, "release", b"l", b"x") == ("bad-request", None)
    with pytest.raises(ValueError, match="positive"):
        commands.encode_acquire(b"me", 0)
    assert log.kv.lock_count() == 0
