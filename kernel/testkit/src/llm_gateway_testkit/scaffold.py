"""``llm-gateway plugins new KIND NAME``: a complete package from the templates beside this.

A template is a file of a package with ``{{words}}`` to be filled in; ``_common`` is laid
under each kind. Its ending ``.tpl`` keeps tools from taking it for code.
"""

import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import rich_click as click

KINDS: Mapping[str, tuple[str, str]] = {
    # what `new` is told: the prefix of the distribution's name, what it is called
    "provider": ("provider", "provider"),
    "strategy": ("routing", "routing strategy"),
    "filter": ("filter", "security filter"),
    "cache": ("cache", "cache backend"),
    "observer": ("observer", "lifecycle observer"),
}
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
COMMON = "_common"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("name")
@click.option("--base-url", help="Base address of the vendor's API (provider).")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The folder to write; new or empty."
)
def new(kind: str, name: str, base_url: str | None, output: Path | None) -> None:
    """Write a new plugin package: code, README, tests, CI, type checking.

    KIND is what it adds to the gateway, NAME what it is called (acme, acme-cloud).
    """
    if not NAME.fullmatch(name):
        raise click.UsageError(f"{name!r} is no name: use lower-case letters, digits and hyphens.")
    if base_url is not None and not re.fullmatch(r"https?://[^\s\"\\]+", base_url):
        raise click.UsageError(f"{base_url!r} is no http(s) address.")
    words = words_for(kind, name, base_url)
    folder = output or Path(words["dist"])
    if folder.exists() and any(folder.iterdir()):
        raise click.ClickException(f"{folder} exists and is not empty; name another with -o.")
    written = write(kind, words, folder)
    click.echo(f"{folder}: {len(written)} files")
    click.echo(f"    cd {folder}\n    pip install -e '.[dev]'\n    pytest")


def words_for(kind: str, name: str, base_url: str | None = None) -> dict[str, str]:
    """What stands for each ``{{word}}`` of a template."""
    prefix, called = KINDS[kind]
    id_ = name.replace("-", "_")
    return {
        "name": name,
        "id": id_,
        "kind": called,
        "plugin": f"{prefix}_{id_}",
        "dist": f"llm-gateway-{prefix}-{name}",
        "module": f"llm_gateway_{prefix}_{id_}",
        "Class": "".join(each.capitalize() for each in name.split("-")),
        "ENV": f"{id_.upper()}_API_KEY",
        "base_url": (base_url or f"https://api.{name}.example/v1").rstrip("/"),
    }


def write(kind: str, words: Mapping[str, str], folder: Path) -> list[Path]:
    """Write the package of `kind` into `folder` and return its files."""
    templates = files("llm_gateway_testkit") / "templates"
    written: list[Path] = []
    for source in (templates / COMMON, templates / kind):
        for path, text in _templates(source):
            target = folder / filled(path, words)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(filled(text, words), encoding="utf-8")
            written.append(target)
    return written


def _templates(source: Traversable, below: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for each in sorted(source.iterdir(), key=lambda each: each.name):
        if each.is_dir():
            found += _templates(each, f"{below}{each.name}/")
        elif each.name.endswith(".tpl"):
            path = f"{below}{each.name}".removesuffix(".tpl").replace("dot_", ".")
            found.append((path, each.read_text(encoding="utf-8")))
    return found


def filled(text: str, words: Mapping[str, str]) -> str:
    """`text` with each ``{{word}}`` replaced; ``__word__`` in the name of a file."""
    return re.sub(
        r"\{\{(\w+)\}\}|__(module)__", lambda found: words[found.group(1) or found.group(2)], text
    )
