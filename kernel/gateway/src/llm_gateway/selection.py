"""Which plugins may load: read from the configuration before any of them is imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_gateway.layers import SettingsError, mapping_at
from llm_gateway.locking import Lock
from llm_gateway.plugins import Plugins, Selection, discover
from llm_gateway.sections import PluginSection
from llm_gateway.settings import Loader

LOCK_FILE = str(PluginSection.model_fields["lock_file"].default)


def lock_path(path: Path | None, name: str = LOCK_FILE) -> Path:
    """Beside the configuration, unless `name` is absolute."""
    return (path.parent if path is not None else Path()) / name


def selected(path: Path | None, environ: Mapping[str, str], *, read_lock: bool = True) -> Selection:
    """Raises `SettingsError` for a file that cannot be read, `ConfigurationError` for a lock."""
    loader = Loader(environ, Plugins())
    loader.merge(path, {})
    section: dict[str, Any] = mapping_at(loader.source.data, "plugins")
    named = section.get("disabled")
    disabled = frozenset(map(str, named)) if isinstance(named, list) else frozenset()
    if section.get("mode") != "locked" or not read_lock:
        return Selection(disabled)
    return Selection(disabled, Lock.read(lock_path(path, str(section.get("lock_file", LOCK_FILE)))))


def leniently(path: Path | None, environ: Mapping[str, str]) -> Selection:
    """The same for commands that shall say what else is wrong with a file."""
    try:
        return selected(path, environ)
    except SettingsError:
        return Selection()


def unlocked(path: Path | None, environ: Mapping[str, str]) -> Plugins:
    """All plugins that are not disabled, whatever a lock says: what a new lock may name."""
    try:
        disabled = selected(path, environ, read_lock=False).disabled
    except SettingsError:
        disabled = frozenset()
    return discover(Selection(disabled))
