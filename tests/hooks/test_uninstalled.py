"""Whatever is called a plugin survives being uninstalled: without each, a request is answered."""

import re
import sys
import tomllib
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import running_gateway
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import ScriptedProvider

ROOT = Path(__file__).parents[2]
KEY = "sk-test-upstream"
DIALECT = "frontend_openai"
QUESTION = {"model": "up/some-model", "messages": [{"role": "user", "content": "When?"}]}
PLUGINS = sorted(entry_points(group="llm_gateway.plugins"), key=lambda each: each.name)
SITE = Path(next(each for each in sys.path if each.endswith("site-packages")))


def without(plugin: EntryPoint, folder: Path) -> str:
    """The interpreter of an environment like this one in which `plugin` is not installed.

    A distribution is its `.dist-info` and its files, or the `.pth` that leads to them.
    """
    assert plugin.dist is not None
    name = re.sub(r"[-_.]+", "_", plugin.dist.name)
    site = folder / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    site.mkdir(parents=True)
    gone = {f"{name}-{plugin.dist.version}.dist-info", f"{name}.pth", plugin.module.split(".")[0]}
    for each in SITE.iterdir():
        if each.name not in gone:
            (site / each.name).symlink_to(each)
    base = Path(sys.executable).resolve()
    (folder / "pyvenv.cfg").write_text(
        f"home = {base.parent}\ninclude-system-site-packages = false\n"
    )
    (folder / "bin").mkdir()
    (folder / "bin/python").symlink_to(base)
    return str(folder / "bin/python")


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda each: each.name)
async def test_gateway_proxies_without(
    plugin: EntryPoint, tmp_path: Path, wheel_folder: str
) -> None:
    """A stranger's dialect asks where the usual one is gone, another provider likewise."""
    stranger = {"PYTHONPATH": wheel_folder} if plugin.name == DIALECT else {}
    python = without(plugin, tmp_path / "env")
    async with ScriptedProvider(validator=openai.strict(KEY)) as provider:
        provider.enqueue(openai.chat_answer("Low tide is at noon."))
        up = {"kind": "openai", "api_key": KEY, "base_url": f"{provider.url}/v1"}
        if plugin.name == "provider_openai":
            up = {"kind": "simulated"}
        config = {"providers": {"up": up}, "plugins": {"mode": "open"}}
        async with running_gateway(config, stranger, python=python) as gateway:
            if stranger:
                reply = await call(
                    f"{gateway.url}/acme/line", b"up/some-model When?", key=gateway.api_key
                )
            else:
                reply = await call(
                    f"{gateway.url}/v1/chat/completions", QUESTION, key=gateway.api_key
                )
            shown = await call(f"{gateway.url}/health?detailed=true")

    assert reply.status == 200, (reply.body, gateway.log_lines())
    assert plugin.name == "provider_openai" or b"Low tide is at noon." in reply.body
    assert plugin.name not in shown.json["plugins"]
    assert {each.name for each in PLUGINS} - {plugin.name} <= set(shown.json["plugins"])
    assert not any("plugin.set_aside" in line for line in gateway.log_lines())


def test_every_plugin_of_the_workspace_is_covered() -> None:
    """What the folders hold is installed, and so is uninstalled above."""
    folders = [
        *ROOT.glob("plugins/*/pyproject.toml"),
        *ROOT.glob("contrib-providers/*/pyproject.toml"),
        ROOT / "migrations/pyproject.toml",
    ]
    declared = set()
    for each in folders:
        points = tomllib.loads(each.read_text())["project"].get("entry-points", {})
        declared |= set(points.get("llm_gateway.plugins", {}))

    assert declared == {each.name for each in PLUGINS}
