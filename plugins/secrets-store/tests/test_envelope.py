"""A stolen table yields nothing, and a row that was touched does not open."""

import base64
import os

import msgspec
import pytest
from llm_gateway_api import ConfigurationError
from llm_gateway_secrets_store.envelope import UnreadableSecretError, keyring

CANARY = "canary-5f0c1d2e3b4a"


def new_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def test_what_is_sealed_opens_and_shows_nothing_of_the_value() -> None:
    ring = keyring(new_key())
    one, two = (ring.seal("vendor", 1, CANARY, 5, 5) for _ in range(2))

    assert ring.open(one) == CANARY
    assert CANARY.encode() not in msgspec.msgpack.encode(one)
    assert one.sealed != two.sealed
    assert one.wrapped != two.wrapped


@pytest.mark.parametrize("field", ["wrapped", "sealed"])
def test_one_bit_anywhere_is_enough_to_be_refused(field: str) -> None:
    ring = keyring(new_key())
    secret = ring.seal("vendor", 1, CANARY, 5, 5)
    whole = getattr(secret, field)

    for at in range(len(whole)):
        touched = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        with pytest.raises(UnreadableSecretError):
            ring.open(msgspec.structs.replace(secret, **{field: touched}))
    for end in range(len(whole)):
        with pytest.raises(UnreadableSecretError):
            ring.open(msgspec.structs.replace(secret, **{field: whole[:end]}))


@pytest.mark.parametrize("change", [{"name": "other"}, {"version": 2}])
def test_a_row_that_was_moved_does_not_open(change: dict[str, object]) -> None:
    ring = keyring(new_key())
    secret = ring.seal("vendor", 1, CANARY, 5, 5)

    with pytest.raises(UnreadableSecretError):
        ring.open(msgspec.structs.replace(secret, **change))


def test_the_newest_key_encrypts_and_all_decrypt() -> None:
    old, new = new_key(), new_key()
    secret = keyring(old).seal("vendor", 1, CANARY, 5, 5)
    both = keyring(f"{new}, {old}")
    fresh = both.reseal(secret, 9)

    assert both.open(secret) == both.open(fresh) == keyring(new).open(fresh) == CANARY
    assert (fresh.set_at, fresh.sealed_at) == (5, 9)
    with pytest.raises(UnreadableSecretError, match="not in security"):
        keyring(old).open(fresh)


def test_hex_and_both_base64_alphabets_are_one_key() -> None:
    key = bytes(range(224, 256))
    forms = [key.hex(), base64.b64encode(key).decode(), base64.urlsafe_b64encode(key).decode()]

    assert len({keyring(each).newest for each in [*forms, forms[1].rstrip("=")]}) == 1


@pytest.mark.parametrize(
    "text", [",", "hunter2-hunter2", "a" * 43 + "!", base64.b64encode(b"x" * 16).decode()]
)
def test_what_is_no_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        keyring(text)

    assert "openssl rand" in str(refused.value)
    assert text == "," or text not in str(refused.value)
