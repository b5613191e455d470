"""What Redis itself does, where scripts, streams and transactions of the fleet rely on it."""

import json
import threading
import time
from hashlib import sha1

import pytest
import redis

from contract.laboratory import RedisServer, eventually


def test_cjson_makes_an_object_of_an_empty_list(client):
    """A message must not be decoded and encoded again by a script: `[]` comes back as `{}`.

    delivery's scripts store the text of a message as it came.
    """
    text = '{"args":[],"kwargs":{}}'
    assert json.loads(client.eval("return cjson.encode(cjson.decode(ARGV[1]))", 0, text)) == {
        "args": {},
        "kwargs": {},
    }


def test_cjson_rounds_numbers_to_fourteen_digits(client):
    """Another reason to keep the text: times and large integers do not survive a round trip through cjson."""
    text = '{"at":1795340137.123456,"id":9007199254740993}'
    assert json.loads(client.eval("return cjson.encode(cjson.decode(ARGV[1]))", 0, text)) == {
        "at": 1795340137.1235,
        "id": 9.007199254741e15,
    }


def test_cjson_fails_on_what_is_no_json_and_pcall_survives_it(client):
    """A script that decodes what it has popped must catch the error, or the pop stays and the message is lost."""
    client.rpush("q", "not json")
    script = "local m = redis.call('LPOP', KEYS[1]) local d = cjson.decode(m) return d"
    with pytest.raises(redis.ResponseError):
        client.eval(script, 1, "q")
    assert client.llen("q") == 0  # nothing is rolled back
    assert client.eval("return tostring(pcall(cjson.decode, ARGV[1]))", 0, "not json") == "false"


def test_null_of_json_is_not_nil(client):
    """`cjson.null` is true to Lua: a script compares with it."""
    assert client.eval("return cjson.decode('{\"a\":null}').a == cjson.null and 1 or 0", 0) == 1


def test_a_false_in_a_reply_is_nil_and_ends_nothing(client):
    """`{false, x}` comes as [None, x], but nil ends the list. delivery's claim answers with false."""
    assert client.eval("return {false, 'x'}", 0) == [None, "x"]
    assert client.eval("return {'x', nil, 'y'}", 0) == ["x"]


def test_numbers_of_lua_come_back_as_integers(client):
    """Times are returned as text."""
    assert client.eval("return 1.9", 0) == 1


def test_scripts_are_gone_after_a_restart(own_server: RedisServer):
    """EVALSHA fails with NOSCRIPT, and the script must be sent again. delivery and store do so."""
    with own_server.client() as client:
        sha = client.script_load("return 1")
        assert client.evalsha(sha, 0) == 1
    own_server.stop()
    own_server.start()
    with own_server.client() as client:
        with pytest.raises(redis.exceptions.NoScriptError):
            client.evalsha(sha, 0)
        assert client.register_script("return 1")() == 1


def test_select_in_a_script_does_not_last(client, server):
    """A script can write to another database; the connection stays where it was."""
    client.eval("redis.call('SELECT', 2) redis.call('SET', 'k', 'v') return 1", 0)
    assert client.get("k") is None
    with server.client(2) as other:
        assert other.get("k") == "v"


def test_a_blocking_pop_answers_at_once_when_there_is_something(client):
    """What was pushed before BLPOP is sent is not missed: the claim of delivery empties the wake list, then waits."""
    client.lpush("wake", "1")
    began = time.monotonic()
    assert client.blpop(["none", "wake"], timeout=20) == ("wake", "1")
    assert time.monotonic() - began < 5
    assert client.blpop(["none", "wake"], timeout=0.05) is None


def test_a_push_wakes_one_blocked_reader_also_from_a_script(client, server):
    """One token wakes one idle worker, the one that has waited for longest. delivery rings in the script of a put."""
    woken: list[int] = []
    clients = [server.client() for _ in range(2)]

    def wait(number: int) -> None:
        if clients[number].blpop(["wake"], timeout=30):
            woken.append(number)

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(2)]
    for number, thread in enumerate(threads):
        thread.start()
        eventually(
            lambda count=number + 1: client.info("clients")["blocked_clients"] == count, "the blocking"
        )
    script = "redis.call('LPUSH', KEYS[1], '1') return redis.call('LLEN', KEYS[1])"
    assert client.eval(script, 1, "wake") == 1  # readers are served when the script has ended
    eventually(lambda: woken == [0], "the waking of the first")
    assert client.info("clients")["blocked_clients"] == 1
    client.eval(script, 1, "wake")
    for thread in threads:
        thread.join()
    assert woken == [0, 1]
    assert not client.exists("wake")
    for each in clients:
        each.close()


def test_an_error_of_a_script_keeps_its_first_word(client):
    """`redis.error_reply('FENCED ...')` comes as an error that begins so. delivery knows the lost lease by it."""
    with pytest.raises(redis.ResponseError, match=r"^FENCED away"):
        client.eval("return redis.error_reply('FENCED away')", 0)


def test_a_script_sees_the_digest_that_python_computes(client):
    """EVALSHA's and `redis.sha1hex` are SHA-1 of the text: delivery moves an entry only if it is what was read."""
    text = "return 1"
    assert client.script_load(text) == sha1(text.encode()).hexdigest()
    assert client.eval("return redis.sha1hex(ARGV[1])", 0, "é") == sha1("é".encode()).hexdigest()


def test_a_script_cannot_unpack_without_end(client):
    """Lua unpacks some thousand arguments: scripts are called for parts of a long list."""
    assert client.eval("redis.call('RPUSH', KEYS[1], unpack(ARGV)) return 1", 1, "q", *range(1000)) == 1
    with pytest.raises(redis.ResponseError, match="too many results to unpack"):
        client.eval("redis.call('RPUSH', KEYS[1], unpack(ARGV)) return 1", 1, "q", *range(10_000))


def test_a_cut_stream_keeps_at_least_its_limit(client):
    """MAXLEN with `~` cuts whole nodes only. The audit of the store may be a little longer than its limit."""
    for number in range(500):
        client.xadd("audit", {"n": number}, maxlen=100, approximate=True)
    assert 100 <= client.xlen("audit") < 500


def test_an_empty_list_or_hash_does_not_exist(client):
    """Keys of a queue or a node that hold nothing take no place, and no one has to remove them."""
    client.lpush("q", "x")
    client.rpop("q")
    client.hset("h", "f", "v")
    client.hdel("h", "f")
    assert not client.exists("q", "h")


def test_the_time_of_redis_can_be_read_in_a_script_that_writes(client):
    """Scripts are replicated by their effects: TIME before a write is allowed. Leases and parked messages rely on it."""
    assert client.eval("local t = redis.call('TIME') redis.call('SET', KEYS[1], t[1]) return t[1]", 1, "k")


def test_a_range_by_score_in_reverse_is_there(client):
    """ZRANGE BYSCORE REV, which kombu's sweep uses, is why Redis must be 6.2 or newer."""
    client.zadd("z", {"a": 1, "b": 2})
    assert client.zrange("z", 9, 0, desc=True, byscore=True) == ["b", "a"]
