"""The last-known-good directory on disk: what a gateway starts with when the store is down.

It holds hashes of secrets and no secret; only its owner may read it.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from llm_gateway_filter_identity.directory import TABLES, Directory

FORM = 1


class Snapshot(msgspec.Struct, frozen=True):
    form: int
    realm: str
    version: int
    saved_at: int
    rows: dict[str, list[dict[str, Any]]]


def save(path: Path, directory: Directory, now: int) -> None:
    """Whole or not at all. Raises `OSError`."""
    rows = {table: [dict(row) for row in directory.rows[table].values()] for table in TABLES}
    data = msgspec.json.encode(Snapshot(FORM, directory.realm, directory.version, now, rows))
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}-{os.getpid()}")
    handle = os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise


def load(path: Path) -> tuple[Directory, int] | None:
    """The directory and when it was saved; None where there is none that can be read."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Snapshot)
    except (OSError, msgspec.MsgspecError):
        return None
    if found.form != FORM:
        return None
    directory = Directory()
    directory.apply(found.realm, found.version, found.rows)
    return directory, found.saved_at
