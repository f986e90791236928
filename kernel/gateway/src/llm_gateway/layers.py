"""The configuration before validation: file, variables and flags in layers, then `${NAME}`
and `${secret:NAME}`.

What comes from a variable or a flag is text of its own right and is not interpolated again.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from llm_gateway_api.errors import ConfigurationError
from pydantic import SecretStr

from llm_gateway import yamlsource
from llm_gateway.masking import scrubbed
from llm_gateway.wording import meant

Key = tuple[str | int, ...]
ABSENT = object()
PREFIX = "LLM_GATEWAY_"
VARIABLES = {
    "SERVER_HOST": "server.host",
    "SERVER_PORT": "server.port",
    "METRICS_PORT": "server.metrics_port",
    "LOG_LEVEL": "telemetry.logging.level",
    "DATABASE_URL": "database.url",
    "REDIS_URL": "state.redis_url",
}
_OLD_LOG_LEVEL = "RUST_LOG"
_VARIABLE = re.compile(
    r"\$\$|\$\{secret:(?!-)(?P<secret>[^}]+)\}|\$\{(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\}"
)

_UNREADABLE = (
    "'${' begins no reference that can be read: write ${NAME}, ${NAME:-default} or"
    " ${secret:NAME}, none within another, and $$ for a dollar sign"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: the dotted key, its line in the file if it stands there, the reason."""

    path: str
    line: int | None
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.path}: {self.message}" if self.path else f"{where}{self.message}"


class SettingsError(ConfigurationError):
    """All problems of a configuration."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Layers:
    """The merged `source`, the problems found so far, and where each value came from."""

    def __init__(self, environ: Mapping[str, str], tops: Iterable[str]) -> None:
        self.environ = environ
        self.tops = frozenset(tops)
        self.source = yamlsource.Source()
        self.origins: dict[Key, str] = {}  # of what did not come from the file
        self.problems: dict[Key, Problem] = {}
        self.warnings: list[str] = []
        self.absent: frozenset[str] = frozenset()  # sections whose contract nobody meets
        self.secrets: Mapping[str, SecretStr] = {}
        self.unread = ""  # why sources of secrets did not answer

    def merge(self, path: Path | None, overrides: Mapping[str, object]) -> None:
        """Read the file and lay variables, then flags, over it."""
        if path is not None:
            try:
                self.source = yamlsource.read(path.read_text(encoding="utf-8"))
            except yamlsource.SourceError as error:
                dotted = ".".join(map(str, error.path))
                raise SettingsError([Problem(dotted, error.line, error.message)]) from error
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                raise SettingsError([Problem(str(path), None, reason)]) from error
        for name, dotted in VARIABLES.items():
            section = dotted.split(".")[0]
            if (value := self.environ.get(name)) and section not in self.absent:
                self._override(dotted.split("."), value, name)
            elif value:
                self.warnings.append(f"{name} is set, but no installed plugin takes {section}")
        old = self.environ.get(_OLD_LOG_LEVEL)
        if old and not self.environ.get("LOG_LEVEL"):
            self.warnings.append(f"{_OLD_LOG_LEVEL} is read as LOG_LEVEL; set LOG_LEVEL instead")
            level = next((part for part in old.split(",") if "=" not in part), "info")
            self._override(VARIABLES["LOG_LEVEL"].split("."), level, _OLD_LOG_LEVEL)
        for name in sorted(self.environ):
            steps = name.removeprefix(PREFIX).lower().split("__")
            if name.startswith(PREFIX) and steps[0] in self.tops:
                value = _decoded(self.environ[name])
                if len(steps) > 1 or isinstance(value, dict):
                    self._override(steps, value, name)
            elif name.startswith(PREFIX) and len(steps) > 1:
                near = meant(steps[0], self.tops)
                self.warnings.append(f"{name} is read by nobody: no section is {steps[0]!r}{near}")
        for dotted, flag in overrides.items():
            self._override(dotted.split("."), flag, "the command line")

    def _override(self, steps: list[str], value: object, origin: str) -> None:
        at: Any = self.source.data
        key: list[str] = []
        for index, step in enumerate(steps):
            # `my-provider` in the file is MY_PROVIDER in a variable
            same = (each for each in at if each.lower().replace("-", "_") == step)
            key.append(step if step in at else next(same, step))
            if index < len(steps) - 1:
                if not isinstance(at.get(key[-1]), dict):
                    at[key[-1]] = {}
                at = at[key[-1]]
        at[key[-1]] = _escaped(value)
        self.origins[tuple(key)] = origin

    def share_metrics_port(self) -> None:
        """``telemetry.metrics.port`` is another name of ``server.metrics_port``."""
        key, other = ("server", "metrics_port"), ("telemetry", "metrics", "port")
        main, alias = value_at(self.source.data, key), value_at(self.source.data, other)
        if alias is ABSENT or alias is None:
            return
        if main is ABSENT:
            self._override(list(key), alias, "telemetry.metrics.port")
        elif key in self.origins:
            put(self.source.data, other, main)
        elif str(main) != str(alias):
            self.problem(other, f"is {alias}, but server.metrics_port is {main}; they are one")

    def interpolated(self, key: Key, value: Any, off: bool) -> Any:
        """`value` with its variables; those missing are left out, a problem unless `off`."""
        if isinstance(value, dict):
            off = off or is_off(self.interpolated((*key, "enabled"), value.get("enabled"), off))
            pairs = ((k, self.interpolated((*key, k), v, off)) for k, v in value.items())
            return {k: v for k, v in pairs if v is not ABSENT}
        if isinstance(value, list):
            items = (self.interpolated((*key, i), v, off) for i, v in enumerate(value))
            return [item for item in items if item is not ABSENT]
        if not isinstance(value, str) or "$" not in value:
            return value
        matches = tuple(_VARIABLE.finditer(value))
        beside = (_VARIABLE.sub("", value), *(m["default"] or "" for m in matches))
        if any("${" in each for each in beside) and not off:
            self.problem(key, _UNREADABLE)
        missing = [m["name"] for m in matches if m["name"] and m["default"] is None]
        missing = [name for name in missing if name not in self.environ]
        if missing and not off:
            self.problem(key, f"the variable {', '.join(missing)} is not set")
        unknown = [m["secret"] for m in matches if m["secret"] is not None]
        unknown = [name for name in unknown if name not in self.secrets]
        if unknown and not off:
            why = f" ({self.unread})" if self.unread else ""
            self.problem(key, f"no source knows the secret {', '.join(unknown)}{why}")
        return ABSENT if missing or unknown else _VARIABLE.sub(self._filled, value)

    def _filled(self, match: "re.Match[str]") -> str:
        if match["secret"] is not None:
            return self.secrets[match["secret"]].get_secret_value()
        if match["name"]:
            return self.environ.get(match["name"]) or match["default"] or ""
        return "$"

    def references(self, key: Key, value: Any, off: bool) -> frozenset[str]:
        """The names in ``${secret:NAME}`` of all that is not switched `off`."""
        if isinstance(value, dict):
            off = off or is_off(self.interpolated((*key, "enabled"), value.get("enabled"), off))
            return frozenset().union(
                *(self.references((*key, k), v, off) for k, v in value.items())
            )
        if isinstance(value, list):
            return frozenset().union(*(self.references(key, each, off) for each in value))
        if off or not isinstance(value, str):
            return frozenset()
        return frozenset(m["secret"] for m in _VARIABLE.finditer(value) if m["secret"] is not None)

    def problem(self, key: Key, message: str) -> None:
        if key in self.problems:
            return
        ends = range(len(key), 0, -1)
        origin = next((self.origins[key[:end]] for end in ends if key[:end] in self.origins), None)
        line = None if origin else self.source.line(key)
        message = scrubbed(message, self.secrets.values())
        text = f"{message} (from {origin})" if origin else message
        self.problems[key] = Problem(".".join(map(str, key)), line, text)


def paths(data: Any, key: Key = ()) -> Iterable[Key]:
    if isinstance(data, dict):
        for name, value in data.items():
            yield (*key, name)
            yield from paths(value, (*key, name))


def value_at(data: Any, key: Key) -> Any:
    for step in key:
        if not isinstance(data, dict) or step not in data:
            return ABSENT
        data = data[step]
    return data


def mapping_at(data: Any, name: str) -> dict[str, Any]:
    value = value_at(data, (name,))
    return value if isinstance(value, dict) else {}


def put(data: dict[str, Any], key: Key, value: Any) -> None:
    for step in key[:-1]:
        data = data.setdefault(str(step), {})
    data[str(key[-1])] = value


def cut(data: Any, key: Key) -> Any:
    parent = value_at(data, key[:-1])
    return parent.pop(key[-1], ABSENT) if isinstance(parent, dict) else ABSENT


def _decoded(text: str) -> Any:
    """JSON lists and mappings; other text stays text, which pydantic turns into numbers."""
    if text in ("null", "~"):
        return None
    if text[:1] in ("[", "{"):
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError:
            return text
    return text


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: _escaped(each) for key, each in value.items()}
    return [_escaped(each) for each in value] if isinstance(value, list) else value


def is_off(value: object) -> bool:
    return value is False or str(value).lower() in ("false", "no", "off", "0", "f", "n")
