"""Samples of the documentation: each command and flag exists, each configuration loads, each Python
sample is one, each link leads somewhere. What guides show is run by `tests/e2e/test_guides.py`."""

import ast
import functools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from llm_gateway.cli import cli
from llm_gateway.cli.output import tried
from llm_gateway.plugins import Plugins, discover
from llm_gateway.sections import KERNEL
from llm_gateway.selection import selected
from llm_gateway.settings import load

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", ".github/*.md", "charts/*.md", "migrations/*.md", "kernel/*/*.md",
                    "kernel/gateway/docs/*.md", "plugins/*/*.md", "contrib-providers/*/*.md")
    for path in ROOT.glob(pattern)
)  # fmt: skip
GLOBALS = {"-u": 1, "--url": 1, "-k": 1, "--api-key": 1, "--json": 0, "-v": 0, "--verbose": 0}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTIONS = {*KERNEL, "cache", "database", "state", "providers"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path, language: str) -> list[str]:
    return [text for what, text in BLOCK.findall(path.read_text("utf-8")) if what == language]


def commands(path: Path) -> Iterator[list[str]]:
    """The words after each `llm-gateway` of code, whether in a span, a frame or a block."""
    text = path.read_text("utf-8").replace("\\\n", " ")
    code = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
    code += re.findall(r"^    (.+)$", text, re.MULTILINE)
    code += [
        line for what, body in BLOCK.findall(text) if what == "sh" for line in body.split("\n")
    ]
    for each in code:
        for found in re.findall(r"(?:^|(?<!-n)[ (;&|])llm-gateway((?: [^`;&|()#]+)?)", each):
            try:
                yield shlex.split(found)
            except ValueError:
                yield found.split()


def unknown(words: list[str]) -> str | None:
    """What of a command line `llm-gateway` does not know; None where all is known."""
    rest = list(words)
    command: click.Command = cli
    context = click.Context(cli, info_name="llm-gateway")
    while isinstance(command, click.Group):
        while rest and rest[0] in GLOBALS:
            del rest[: 1 + GLOBALS[rest[0]]]
        if not rest or not re.fullmatch(r"[a-z-]+", rest[0]) or rest[0].startswith("-"):
            return None  # the program or a group by itself, `--help`
        try:
            _, found, rest = command.resolve_command(context, rest)
        except click.UsageError:
            return rest[0]
        assert found is not None
        command, context = found, click.Context(found, parent=context)
    flags = {flag for each in command.params for flag in (*each.opts, *each.secondary_opts)}
    given = [word.strip("[]").split("=")[0] for word in rest if re.match(r"\[?-{1,2}[a-z]", word)]
    return next((each for each in given if each not in {*flags, "-h", "--help"}), None)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_command_and_flag_of_a_page_exists(path: Path) -> None:
    wrong = {" ".join(words): found for words in commands(path) if (found := unknown(words))}

    assert wrong == {}


def test_a_command_or_flag_that_does_not_exist_is_noticed() -> None:
    assert unknown(["-k", "key", "keys", "create", "--tenant", "a"]) is None
    assert unknown(["keys", "make"]) == "make"
    assert unknown(["tenants", "create", "acme", "--rps", "5"]) == "--rps"


@functools.cache
def plugins() -> Plugins:
    return discover(selected(None, {}))


def configurations() -> Iterator[tuple[Path, str]]:
    for path in PAGES:
        for text in blocks(path, "yaml"):
            if isinstance(found := yaml.safe_load(text), dict) and found.keys() <= SECTIONS:
                yield path, text


@pytest.mark.parametrize(
    ("path", "text"), [pytest.param(*each, id=name(each[0])) for each in configurations()]
)
def test_every_configuration_of_a_page_is_one(
    path: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its variables set, and its providers where it names some that it does not show."""
    monkeypatch.setenv("LLM_GATEWAY_DATA_DIR", str(tmp_path / "data"))
    for variable in re.findall(r"\$\{([A-Z_0-9]+)", text):
        is_address = variable.endswith(("ENDPOINT", "URL"))
        value = "https://vendor.example" if is_address else f"a-long-{variable.lower()}-0123456789"
        monkeypatch.setenv(variable, value)
    (tmp_path / "config.yaml").write_text(re.sub(r"\$\{secret:[^}]+\}", "sk-secret", text))

    settings = load(tmp_path / "config.yaml", os.environ, plugins())
    refused = tried(settings, plugins()).refusal

    assert refused is None or re.search("nothing is called|lacks", refused), refused
    assert list(settings.warnings) == []


@pytest.mark.parametrize("path", [each for each in PAGES if blocks(each, "python")], ids=name)
def test_every_python_sample_is_python(path: Path) -> None:
    for text in blocks(path, "python"):
        ast.parse(
            text
            if "await " not in text
            else f"async def _():\n {text.replace(chr(10), chr(10) + ' ')}"
        )


def test_the_sample_of_a_plugin_fits_the_contracts(tmp_path: Path) -> None:
    (sample,) = blocks(ROOT / "kernel/api/README.md", "python")
    (tmp_path / "plugin.py").write_text(sample)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "plugin.py"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in heads}


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_link_of_a_page_leads_somewhere(path: Path) -> None:
    found = re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8"))
    for link in (each for each in found if not each.startswith(("http://", "https://", "mailto:"))):
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
