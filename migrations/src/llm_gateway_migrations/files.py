"""Migrations as files: found in the packages that declare them, read, split into statements."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from llm_gateway_api import ConfigurationError, MigrationSpec

_NAME = re.compile(r"(\d{14})_([a-z0-9_]+)\.sql")
_MARKER = re.compile(r"^--\s*migrate:(up|down)(.*)$", re.MULTILINE)
# What a semicolon may hide in: quotes, identifiers, dollar quotes, comments.
_SKIPPED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|(\$\w*\$).*?\1|--[^\n]*|/\*.*?\*/", re.DOTALL)
# A trigger of SQLite has semicolons inside, and ends at the one behind its END.
_TRIGGER = re.compile(r"CREATE\s+(?:TEMP\w*\s+)?TRIGGER\b.*?\bBEGIN\b", re.DOTALL | re.IGNORECASE)
_END = re.compile(r";\s*END\s*\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """The statements of one direction; `whole` says that they are one transaction."""

    statements: tuple[str, ...]
    whole: bool


@dataclass(frozen=True, slots=True)
class Migration:
    version: str
    name: str
    series: str
    up: Part
    down: Part
    checksum: str


def collect(specs: Sequence[MigrationSpec], dialect: str) -> tuple[Migration, ...]:
    """All migrations for `dialect`, oldest first.

    Raises:
        ConfigurationError: a file is no migration, or two have one version.
    """
    found: dict[str, Migration] = {}
    for spec in specs:
        for each in _of_series(spec, dialect):
            other = found.setdefault(each.version, each)
            if other is not each:
                raise ConfigurationError(
                    f"Two migrations have the version {each.version}: {other.name} of "
                    f"{other.series} and {each.name} of {each.series}; rename one."
                )
    return tuple(found[version] for version in sorted(found))


def parse(series: str, filename: str, text: str) -> Migration:
    """Read one file.

    Raises:
        ConfigurationError: its name or its markers are not those of a migration.
    """
    match = _NAME.fullmatch(filename)
    if match is None:
        raise ConfigurationError(f"{series}: {filename} is not YYYYMMDDHHMMSS_name.sql.")
    parts: dict[str, Part] = {}
    marks = [*_MARKER.finditer(text)]
    for at, mark in enumerate(marks):
        end = marks[at + 1].start() if at + 1 < len(marks) else len(text)
        whole = "transaction:false" not in mark[2]
        parts[mark[1]] = Part(tuple(statements(text[mark.end() : end])), whole)
    if "up" not in parts or "down" not in parts:
        raise ConfigurationError(
            f"{series}: {filename} lacks `-- migrate:up` or `-- migrate:down`."
        )
    checksum = hashlib.sha256(text.encode()).hexdigest()
    return Migration(match[1], match[2], series, parts["up"], parts["down"], checksum)


def statements(text: str) -> Iterator[str]:
    """The statements of `text`, without the semicolons that end them."""
    begin = at = 0
    while at < len(text):
        if (skipped := _SKIPPED.match(text, at)) is not None:
            at = skipped.end()
            continue
        if text[at] == ";" and _whole(text[begin:at]):
            yield from _said(text[begin:at])
            begin = at + 1
        at += 1
    yield from _said(text[begin:])


def _whole(text: str) -> bool:
    """False in the midst of a trigger."""
    code = _without_comments(text).strip()
    return _TRIGGER.match(code) is None or _END.search(code) is not None


def _said(text: str) -> Iterator[str]:
    """`text` if there is more in it than comments."""
    if _without_comments(text).strip():
        yield text.strip()


def _without_comments(text: str) -> str:
    return re.sub(r"--[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


def _of_series(spec: MigrationSpec, dialect: str) -> Iterator[Migration]:
    folder = files(spec.package) / dialect
    if not folder.is_dir():
        raise ConfigurationError(f"{spec.series}: {spec.package} has no folder {dialect}.")
    for file in folder.iterdir():
        if file.name.endswith(".sql"):
            yield parse(spec.series, file.name, file.read_text(encoding="utf-8"))
