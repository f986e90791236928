"""``llm-gateway plugins new``: what it writes is whole and green from the start."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from llm_gateway_testkit import scaffold


def written(kind: str, folder: Path, name: str = "acme") -> dict[str, str]:
    """The package, and metadata as an installer would lay them beside it."""
    words = scaffold.words_for(kind, name)
    scaffold.write(kind, words, folder)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / "src" / f"{words['module']}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {words['dist']}\nVersion: 0.1.0\n"
    )
    points = project["entry-points"]["llm_gateway.plugins"]
    lines = [f"{key} = {value}" for key, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[llm_gateway.plugins]", *lines, ""]))
    return words


def run(folder: Path, *command: str, paths: tuple[Path, ...] = ()) -> str:
    sources = os.pathsep.join(str(each) for each in (folder / "src", *paths))
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": sources, "MYPYPATH": sources},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", scaffold.KINDS)
def test_new_package_is_green(kind: str, tmp_path: Path) -> None:
    """Tests, lint and format pass before anything is changed."""
    written(kind, tmp_path)

    assert "passed" in run(
        tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "-c", "pyproject.toml"
    )
    run(tmp_path, "ruff", "check", ".")
    run(tmp_path, "ruff", "format", "--check", ".")


@pytest.mark.parametrize("name", ["a", "acme-cloud-for-europe-west"])
@pytest.mark.parametrize("kind", scaffold.KINDS)
def test_new_package_is_formatted_whatever_its_name(kind: str, name: str, tmp_path: Path) -> None:
    written(kind, tmp_path, name)

    run(tmp_path, "ruff", "check", ".")
    run(tmp_path, "ruff", "format", "--check", ".")


def test_new_packages_are_well_typed(tmp_path: Path) -> None:
    """All kinds, under mypy strict."""
    modules = {}
    for kind in scaffold.KINDS:
        modules[kind] = written(kind, tmp_path / kind)["module"]
    chosen = [word for module in modules.values() for word in ("-p", module)]

    run(
        tmp_path / "provider",
        *("mypy", "--strict", "--config-file", "pyproject.toml", *chosen),
        paths=tuple(tmp_path / kind / "src" for kind in scaffold.KINDS),
    )


def test_the_tutorials_samples_keep_a_new_provider_green(tmp_path: Path) -> None:
    """The code of its third step and the case of its fourth, as they stand there."""
    page = (Path(__file__).parents[2] / "gateway/docs/write-a-provider.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (case,) = re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    module = written("provider", tmp_path)["module"]
    plugin, cases = tmp_path / "src" / module / "plugin.py", tmp_path / "tests/cases/cases.json"
    text = plugin.read_text("utf-8").replace(" Quirks\n", " ErrorRules, Quirks\n")
    text = re.sub(r"^class Acme.*?(?=^@)", lambda _: f"{code}\n\n", text, flags=re.M | re.S)
    plugin.write_text(text, "utf-8")
    cases.write_text(json.dumps([*json.loads(cases.read_text("utf-8")), json.loads(case)]))

    told = run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "-c", "pyproject.toml")

    assert "passed" in told
    run(tmp_path, "mypy", "--strict", "--config-file", "pyproject.toml", "-p", module)


def test_new_provider_shows_what_is_proven(tmp_path: Path) -> None:
    written("provider", tmp_path)

    told = run(
        tmp_path,
        *("pytest", "-q", "-p", "no:cacheprovider", "--llm-gateway-plugin", "provider_acme"),
        *("--llm-gateway-report", "report.json"),
    )

    assert "stream             proven" in told
    assert '"level": "proven"' in (tmp_path / "report.json").read_text()


@pytest.mark.parametrize("kind", scaffold.KINDS)
def test_nothing_is_left_to_fill_in(kind: str, tmp_path: Path) -> None:
    scaffold.write(kind, scaffold.words_for(kind, "acme-cloud"), tmp_path)

    files = [each for each in tmp_path.rglob("*") if each.is_file()]
    assert {"README.md", "pyproject.toml", "ci.yml", "plugin.py", "py.typed"} <= {
        f.name for f in files
    }
    for each in files:
        text = each.read_text().replace("${{ matrix.python-version }}", "")
        assert "{{" not in text.replace("}}}", ""), each
        assert "__module__" not in str(each)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["robot", "acme"], "robot"),
        (["provider", "Acme!"], "is no name"),
        (["provider", "acme", "--base-url", 'x" + evil + "'], "is no http(s) address"),
    ],
)
def test_wrong_use_is_told(arguments: list[str], text: str) -> None:
    done = CliRunner().invoke(scaffold.new, arguments)

    assert done.exit_code == 2
    assert text in done.output


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")

    done = CliRunner().invoke(scaffold.new, ["cache", "acme", "-o", str(tmp_path)])

    assert done.exit_code == 1 and "not empty" in done.output
    assert [each.name for each in tmp_path.iterdir()] == ["mine"]
