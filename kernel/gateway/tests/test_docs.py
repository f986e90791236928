"""The pages made from declarations are what the declarations say now."""

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "docs"
VENDORS = "uv run --all-packages python kernel/gateway/docs/vendors.py"
COMMAND = "uv run --all-packages python kernel/gateway/docs/generate.py"


def generator(name: str = "generate") -> Any:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", list(generator().PAGES))
def test_page_is_up_to_date(name: str) -> None:
    """Every setting, metric, hook and error code of the kernel has its line."""
    page = generator().PAGES[name]()

    assert (FOLDER / name).read_text(encoding="utf-8") == page, f"run: {COMMAND}"


def test_parameters_are_what_providers_do_with_them() -> None:
    page = generator("vendors").parameters()

    told = (FOLDER / "parameters.md").read_text(encoding="utf-8")
    assert told == page, f"run: {VENDORS}"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_vendors_are_what_the_conformance_kit_finds() -> None:
    page = generator("vendors").vendors_page()

    assert (FOLDER / "vendors.md").read_text(encoding="utf-8") == page, f"run: {VENDORS}"
    assert "fail" not in page


def test_every_setting_says_what_it_means() -> None:
    lines = generator().settings().splitlines()

    assert [line for line in lines if line.startswith("| `") and line.endswith("|  |")] == []


def test_every_hook_is_shown_by_a_plugin_of_this_repository() -> None:
    page = generator().hooks()

    examples = [line for line in page.splitlines() if line.startswith("**Examples**")]
    assert len(examples) == page.count("\n## ") > 20
    assert [line for line in examples if line.count("](") < 2] == []


PLUGINS = [path.parent for path in sorted(FOLDER.parents[2].glob("plugins/*/README.md"))]


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda each: str(each.name))
def test_what_a_plugin_refuses_stands_in_its_readme(folder: Path) -> None:
    """Each refusal whose status and code are written out where it is made."""
    told = (folder / "README.md").read_text(encoding="utf-8")
    for path in folder.glob("src/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Refusal"):
                consts = [each for each in node.args[:2] if isinstance(each, ast.Constant)]
                written = [str(each.value) for each in consts]
                if len(written) == 2:
                    assert f"`{written[0]} {written[1]}`" in told, path


def test_what_a_readme_says_is_counted_is_on_the_page_of_metrics() -> None:
    page = (FOLDER / "metrics.md").read_text(encoding="utf-8")
    for folder in PLUGINS:
        told = (folder / "README.md").read_text(encoding="utf-8").partition("**Metrics**")[2]
        for name in re.findall(r"`(gateway_[a-z_]+[a-z])\b", told):
            assert f"`{name}`" in page, folder
