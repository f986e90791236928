"""Commands as bytes. Protocol: redis.io/docs/latest/develop/reference/protocol-spec (RESP)."""

from collections.abc import Sequence

from llm_gateway_state_redis.scripts import NAMES


def packed(*words: bytes) -> bytes:
    """One command: an array of bulk strings."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


def evaluated(script: bytes, keys: Sequence[bytes], arguments: Sequence[bytes]) -> bytes:
    """A call of one of `scripts.ALL`."""
    return packed(b"EVALSHA", NAMES[script], b"%d" % len(keys), *keys, *arguments)


PING = packed(b"PING")
