"""``plugins.mode: locked``: only what a lock file names, in that version, with those files.

Judged from metadata and bytes before anything of a plugin is imported. A development
install has no files of its own to compare; there, the lock holds name and version.
"""

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from typing import Any

from llm_gateway_api.errors import ConfigurationError

VERSION = 1
# Written by whatever installs, and different on each machine.
_INSTALLERS = ("/RECORD", "/INSTALLER", "/REQUESTED", "/direct_url.json", "/uv_cache.json")


@dataclass(frozen=True, slots=True)
class Pin:
    """One plugin as it was locked; `files` is the SHA-256 of its sorted RECORD."""

    distribution: str
    version: str
    files: str


class Lock:
    """The pins by entry point, read from `path`."""

    def __init__(self, path: Path, pins: Mapping[str, Pin]) -> None:
        self.path = path
        self.pins = pins

    @classmethod
    def read(cls, path: Path) -> "Lock":
        """Raises `ConfigurationError` where `path` is no lock file."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["version"] != VERSION:
                raise ValueError(f"its version is {document['version']!r}, not {VERSION}")
            pins = {name: Pin(**pin) for name, pin in document["plugins"].items()}
        except OSError as error:
            raise ConfigurationError(
                f"plugins.lock_file: {path}: {error.strerror}; write it with "
                "`llm-gateway plugins lock`."
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"plugins.lock_file: {path} is no lock file of this version ({error})."
            ) from error
        return cls(path, pins)

    def check(self, points: Iterable[EntryPoint]) -> None:
        """Raises `ConfigurationError` naming everything that is not as it was locked."""
        found = {point.name: point for point in points}
        wrong = [f"{name} is not installed" for name in self.pins if name not in found]
        for name, pin in self.pins.items():
            point = found.get(name)
            if point is None or point.dist is None:
                continue
            now = pinned(point.dist)
            if (now.distribution, now.version) != (pin.distribution, pin.version):
                wrong.append(
                    f"{name} is {now.distribution} {now.version}, "
                    f"not {pin.distribution} {pin.version}"
                )
            elif now.files != pin.files:
                wrong.append(f"{name}: the files of {pin.distribution} are others")
            elif changed := changed_files(point.dist):
                wrong.append(f"{name}: {', '.join(changed)} was changed after its installation")
        if wrong:
            raise ConfigurationError(
                f"plugins.mode is locked, and {self.path} does not fit: {'; '.join(wrong)}. "
                "Install what it names, or write it anew with `llm-gateway plugins lock`."
            )

    def allows(self, name: str) -> bool:
        return name in self.pins


def pinned(distribution: Distribution) -> Pin:
    lines = sorted(",".join(each) for each in _files(distribution))
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return Pin(distribution.name, distribution.version, f"sha256:{digest}")


def changed_files(distribution: Distribution) -> list[str]:
    """The files that no longer have the hash that RECORD gives them."""
    changed = []
    for name, expected in _files(distribution):
        try:
            data = Path(str(distribution.locate_file(name))).read_bytes()
        except OSError:
            changed.append(name)
            continue
        digest = urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        if f"sha256={digest}" != expected:
            changed.append(name)
    return changed


def _files(distribution: Distribution) -> list[tuple[str, str]]:
    """(path, hash) of what the wheel brought; scripts and bytecode are the installer's."""
    found = []
    for each in distribution.files or ():
        path = str(each)
        if each.hash is None or path.startswith("..") or path.endswith((*_INSTALLERS, ".pyc")):
            continue
        found.append((path, f"{each.hash.mode}={each.hash.value}"))
    return found


def written(points: Iterable[EntryPoint]) -> str:
    """The text of a lock file for `points`."""
    pins: dict[str, Any] = {}
    for point in sorted(points, key=lambda each: each.name):
        if point.dist is not None:
            pin = pinned(point.dist)
            pins[point.name] = {
                "distribution": pin.distribution,
                "version": pin.version,
                "files": pin.files,
            }
    return json.dumps({"version": VERSION, "plugins": pins}, indent=2) + "\n"
