"""The key that a gateway on this machine made for itself, for its own command line."""

import os
from pathlib import Path
from urllib.parse import urlsplit

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def on_this_machine(url: str) -> bool:
    return urlsplit(url).hostname in _LOOPBACK


def local_key(url: str) -> str | None:
    """Return the key in the data directory, if `url` is on this machine and there is one.

    It is sent nowhere else: another host has another key.
    """
    if not on_this_machine(url):
        return None
    folder = os.environ.get("LLM_GATEWAY_DATA_DIR") or "~/.local/state/llm-gateway"
    try:
        return (Path(folder).expanduser() / "api-key").read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
