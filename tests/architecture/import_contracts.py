"""The import contracts, held by import-linter over whatever packages the folders hold.

Run as a program; the contracts are written from the folders, so that a new plugin is
covered by being there.
"""

import os
import sys
import tempfile
import tomllib
from pathlib import Path

from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[2]
KERNEL = ("llm_gateway_api", "llm_gateway")
CONTRACTS = """\
[importlinter]
root_packages =
    {roots}
exclude_type_checking_imports = True

[importlinter:contract:kernel]
name = The kernel imports no plugin
type = forbidden
source_modules =
    {kernel}
forbidden_modules =
    {plugins}

[importlinter:contract:api]
name = The API imports nothing of the server
type = forbidden
source_modules = llm_gateway_api
forbidden_modules = llm_gateway

[importlinter:contract:siblings]
name = No plugin imports another, or the server
type = independence
modules =
    {plugins}
    llm_gateway

[importlinter:contract:cycles]
name = No import cycle in the kernel
type = acyclic_siblings
ancestors =
    {kernel}
"""


def packages() -> tuple[list[str], list[str]]:
    """The packages of plugins, and those of libraries that plugins share."""
    plugins, libraries = [], []
    for top in ("plugins", "contrib-providers", "migrations"):
        for each in (*ROOT.glob(f"{top}/*/pyproject.toml"), *ROOT.glob(f"{top}/pyproject.toml")):
            project = tomllib.loads(each.read_text())["project"]
            points = project.get("entry-points", {}).get("llm_gateway.plugins")
            found = [p.parent.name for p in each.parent.glob("src/*/__init__.py")]
            (plugins if points else libraries).extend(found)
    return sorted(plugins), sorted(libraries)


def main() -> int:
    plugins, libraries = packages()
    lines = "\n    ".join
    text = CONTRACTS.format(
        roots=lines([*KERNEL, *plugins, *libraries]), kernel=lines(KERNEL), plugins=lines(plugins)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "contracts.ini"
        path.write_text(text)
        os.chdir(folder)  # its cache is made where it runs
        return lint_imports(config_filename=str(path))


if __name__ == "__main__":
    sys.exit(main())
