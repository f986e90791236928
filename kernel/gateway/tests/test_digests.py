"""Keys that are kept are found again, whoever works their digest out."""

import hashlib

import pytest
from llm_gateway_api import key_digest


@pytest.mark.parametrize("key", ["", "k", "x" * 43, "x" * 64, "k" * 5000, "ключ", "\udcff"])
def test_the_digest_of_a_key_is_its_sha_256(key: str) -> None:
    assert key_digest(key) == hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
