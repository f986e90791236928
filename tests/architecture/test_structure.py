"""Rules of the structure that could be broken by accident."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KERNEL = sorted([*ROOT.glob("kernel/api/src/**/*.py"), *ROOT.glob("kernel/gateway/src/**/*.py")])
SOURCES = sorted(
    path
    for top in ("kernel", "plugins", "contrib-providers", "migrations")
    for path in (*ROOT.glob(f"{top}/*/src/**/*.py"), *ROOT.glob(f"{top}/src/**/*.py"))
)
VENDORS = re.compile(
    r"(?i)openai|anthropic|azure|gemini|bedrock|cohere|mistral|together_?ai|redis(?!_url)|round_robin"
)


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module.partition(".")[0], node.module}
    return found


def test_pluggy_is_imported_in_two_modules() -> None:
    """Plugins use `hookimpl` of the API; only the loader knows pluggy."""
    users = {path.name for path in SOURCES if "pluggy" in imports(path)}

    assert users == {"hookspecs.py", "plugins.py"}


@pytest.mark.parametrize("name", ["pipeline", "attempt", "lanes", "client", "upstream", "routing"])
def test_request_path_asks_no_hook(name: str) -> None:
    """What a request runs through was bound before the request arrived."""
    imported = imports(ROOT / f"kernel/gateway/src/llm_gateway/{name}.py")

    assert imported.isdisjoint({"pluggy", "llm_gateway.plugins", "llm_gateway_api.hookspecs"})


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_longer_than_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_plugins_import_the_api_and_no_sibling(path: Path) -> None:
    """A plugin meets others only through contracts."""
    parts = path.relative_to(ROOT).parts
    own = parts[parts.index("src") + 1]
    ours = {each for each in imports(path) if each.startswith("llm_gateway") and "." not in each}
    libraries = {"llm_gateway_dialect_openai"}  # no plugin: what providers of one dialect share
    allowed = {own, "llm_gateway_api", *libraries}
    if parts[0] != "kernel" or own == "llm_gateway":
        assert ours <= allowed


@pytest.mark.parametrize("path", KERNEL, ids=lambda path: str(path.relative_to(ROOT)))
def test_kernel_names_no_vendor(path: Path) -> None:
    """What names a vendor belongs to its plugin."""
    assert not VENDORS.findall(path.read_text())
