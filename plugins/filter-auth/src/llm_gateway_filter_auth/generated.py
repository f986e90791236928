"""The key that is made where none is configured: kept in one file, shown once.

The file is what makes it the same key for every worker, for the next start and after a
reload. The key itself is never logged: a terminal sees it, anything else only its path.
"""

import contextlib
import os
import secrets
import sys
import tempfile
from pathlib import Path

import llm_gateway_api as gw

FILE = "api-key"


def generated_key(data_dir: Path) -> str:
    """Return the key in ``data_dir/api-key``, made now if there is none.

    Raises:
        ConfigurationError: the file cannot be read or written, or others may read it.
    """
    path = data_dir / FILE
    try:
        made = None if path.exists() else _create(path)
        key = made or _read(path)
    except OSError as error:
        raise gw.ConfigurationError(
            f"no API key is configured and {path} cannot be used ({error.strerror}); set"
            " LLM_GATEWAY_API_KEYS, or LLM_GATEWAY_DATA_DIR to a folder that can be written."
        ) from error
    _tell(path, made)
    return key


def _create(path: Path) -> str | None:
    """Write a new key; None if another worker was first. Linking makes it appear whole."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = f"gw-{secrets.token_urlsafe(32)}"
    handle, name = tempfile.mkstemp(prefix=".api-key-", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(key + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
            return key
        return None
    finally:
        os.unlink(name)


def _read(path: Path) -> str:
    if path.stat().st_mode & 0o077:
        raise gw.ConfigurationError(f"{path} can be read by others; run: chmod 600 {path}")
    key = path.read_text(encoding="ascii", errors="replace").strip()
    if len(key) < 16 or not key.isascii():
        raise gw.ConfigurationError(f"{path} holds no API key; remove it to have one made.")
    return key


def _tell(path: Path, made: str | None) -> None:
    if made is not None and sys.stderr.isatty():
        text = f"No API key is configured, so one was made. Shown once: {made} (kept in {path})"
    else:
        text = f"No API key is configured; clients use the one in {path}"
    print(text, file=sys.stderr, flush=True)
