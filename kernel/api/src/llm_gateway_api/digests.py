"""The digest that API keys are kept and found by."""

import hashlib
from importlib import import_module
from typing import Any


def key_digest(key: str) -> bytes:
    """SHA-256, without a key of its own or many rounds: what it hides is long and random."""
    digest: bytes = _sha256(key.encode("utf-8", "surrogateescape")).digest()
    return digest


def _quickest() -> Any:
    """Python's own: OpenSSL's sets up more for each call than so short a text takes, a
    microsecond in all within a request. Not every Python has one, or under one name."""
    for module in ("_sha2", "_sha256"):
        try:
            return import_module(module).sha256
        except ImportError:
            continue
    return hashlib.sha256


_sha256 = _quickest()
