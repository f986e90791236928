"""Plugins that break, each in a phase of its own, in real processes started by the command.

What the configuration names must work; a gateway goes on without what it does not name.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from llm_gateway_testkit.gateway import free_ports, running_gateway
from llm_gateway_testkit.rawclient import call

PHASES = ("import", "register", "settings", "declare", "bind", "open")
ADMIN = "admin-key-0123456789abcdef"
SIMULATED = {"providers": {"sim": {"kind": "simulated"}}}
QUESTION = {"model": "simulated", "messages": [{"role": "user", "content": "hello"}]}


def environment(folder: str, data: Path) -> dict[str, str]:
    path = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "LLM_GATEWAY_DATA_DIR": str(data), "PATH": os.environ["PATH"]}


def refused(folder: str, tmp_path: Path, *phases: str) -> "subprocess.CompletedProcess[str]":
    """Start a gateway whose configuration names what breaks in `phases`."""
    config = tmp_path / "gateway.yaml"
    named: dict[str, Any] = {f"broken_{each}": {} for each in phases}
    config.write_text(json.dumps({**SIMULATED, "plugins": named}))
    port, metrics = free_ports(2)
    return subprocess.run(
        [
            *(sys.executable, "-m", "llm_gateway", "start", "-c", str(config)),
            *("-H", "127.0.0.1", "-p", str(port), "--metrics-port", str(metrics)),
        ],
        env=environment(folder, tmp_path / "data"),
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize("phase", PHASES)
def test_named_plugin_that_breaks_refuses_the_start(
    broken_folder: str, tmp_path: Path, phase: str
) -> None:
    done = refused(broken_folder, tmp_path, phase)

    assert done.returncode == 78, done.stderr
    said = done.stderr.partition("The start is refused.")[2].splitlines()
    (line,) = [each for each in said if f"broken_{phase}" in each and "set aside: " not in each]
    assert f"phase {phase}" in line
    assert "on purpose" in line or "did you mean llm_gateway_guards?" in line


@pytest.mark.parametrize("together", [PHASES[:4], ("bind",), ("open",)])
def test_refused_start_lists_every_broken_plugin(
    broken_folder: str, tmp_path: Path, together: tuple[str, ...]
) -> None:
    """All that is broken is known after one start; so far as the phases before went well."""
    done = refused(broken_folder, tmp_path, *together)

    assert done.returncode == 78, done.stderr
    for each in PHASES[:4]:
        assert f"broken_{each}" in done.stderr
    for each in together:
        assert f"broken_{each}" in done.stderr.partition("The start is refused.")[2]


async def test_plugins_nobody_named_are_set_aside_and_requests_answered(
    broken_folder: str, tmp_path: Path
) -> None:
    """Loudly: table, log, metric, health, and `plugins list` up to the phases it runs."""
    env = environment(broken_folder, tmp_path) | {"LLM_GATEWAY_ADMIN_KEY": ADMIN}
    async with running_gateway(SIMULATED, env) as gateway:
        answer = await call(f"{gateway.url}/v1/chat/completions", QUESTION, key=gateway.api_key)
        health = (await call(f"{gateway.url}/health?detailed=true", key=ADMIN)).json
        page = (await call(f"{gateway.metrics_url}/metrics")).body.decode()

    assert answer.status == 200, answer.body
    assert health["status"] == "degraded"
    for phase in PHASES:
        name = f"broken_{phase}"
        told = health["plugins"][name]
        assert (told["state"], told["phase"]) == ("set aside", phase)
        assert f'gateway_plugin_set_aside{{plugin="{name}",phase="{phase}"}} 1' in page
        lines = [each for each in gateway.log_lines() if name in each]
        assert any("plugin.set_aside" in each and f"phase {phase}" in each for each in lines)
        assert any(each.startswith("INFO plugin ") and "set aside" in each for each in lines)


def test_plugins_list_and_check_tell_what_is_broken(broken_folder: str, tmp_path: Path) -> None:
    """Beside broken plugins the commands work; what breaks when it opens shows at run time."""
    command = [sys.executable, "-m", "llm_gateway", "--json", "plugins"]
    env = environment(broken_folder, tmp_path / "data")

    listed = subprocess.run([*command, "list"], env=env, capture_output=True, text=True)
    checked = subprocess.run([*command, "check"], env=env, capture_output=True, text=True)

    states = {each["name"]: (each["state"], each["phase"]) for each in json.loads(listed.stdout)}
    for phase in PHASES[:5]:
        assert states[f"broken_{phase}"] == ("set aside", phase)
    assert states["broken_open"] == ("active", None)
    assert listed.returncode == 0
    assert checked.returncode == 1
    assert len(json.loads(checked.stdout)["broken"]) == 5
    assert not (tmp_path / "data").exists()


async def test_reload_that_names_a_broken_plugin_changes_nothing(
    broken_folder: str, tmp_path: Path
) -> None:
    env = environment(broken_folder, tmp_path)
    config = tmp_path / "gateway.yaml"
    config.write_text(json.dumps(SIMULATED))
    async with running_gateway(SIMULATED, env, args=["-c", str(config)]) as gateway:
        config.write_text(json.dumps({**SIMULATED, "plugins": {"broken_open": {}}}))
        async with asyncio.timeout(10):
            while not any("reload.refused" in each for each in gateway.log_lines()):
                await asyncio.sleep(0.02)
        answer = await call(f"{gateway.url}/v1/chat/completions", QUESTION, key=gateway.api_key)

    assert answer.status == 200
    assert any("broken_open failed in phase open" in each for each in gateway.log_lines())
