"""`plugins.mode: locked`: what runs is what was locked, down to the bytes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from llm_gateway_testkit.gateway import running_gateway
from llm_gateway_testkit.rawclient import call

LOCKED = {"providers": {"sim": {"kind": "simulated"}}, "plugins": {"mode": "locked"}}


@pytest.fixture
def site(wheel_folder: str, tmp_path: Path) -> Path:
    """A folder of our own with the test plugin as it is installed from its wheel."""
    return Path(shutil.copytree(wheel_folder, tmp_path / "site"))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(json.dumps(LOCKED))
    return path


def run(site: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "PYTHONPATH": str(site), "LLM_GATEWAY_DATA_DIR": str(site.parent / "data")}
    command = [sys.executable, "-m", "llm_gateway", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)


def locked(site: Path, config: Path) -> Path:
    done = run(site, "plugins", "lock", "-c", str(config))
    assert done.returncode == 0, done.stderr
    return config.parent / "plugins.lock"


async def test_what_was_locked_runs_and_what_was_not_is_set_aside(site: Path, config: Path) -> None:
    """Before it is imported, and loudly."""
    lock = locked(site, config)
    document = json.loads(lock.read_text())
    assert document["plugins"]["acme"]["version"] == "1.2.3"
    del document["plugins"]["acme"]
    lock.write_text(json.dumps(document))
    (site / "acme_gateway/plugin.py").write_text("print('imported all the same')")

    env = {"PYTHONPATH": str(site)}
    async with running_gateway(LOCKED, env, args=["-c", str(config)]) as gateway:
        live = await call(f"{gateway.url}/health/ready")
        health = await call(f"{gateway.url}/health?detailed=true", key=gateway.api_key)

    assert live.status == 200
    assert health.json["plugins"]["acme"]["state"] == "set aside"
    assert health.json["plugins"]["provider_simulated"]["state"] == "active"
    assert not any("imported all the same" in line for line in gateway.log_lines())
    assert any("plugin.set_aside acme" in line for line in gateway.log_lines())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda site: (site / "acme_gateway/plugin.py").write_text("x = 1"), "was changed after"),
        (lambda site: (site / "acme_gateway/sql/__init__.py").unlink(), "was changed after"),
        (lambda site: shutil.rmtree(next(site.glob("*.dist-info"))), "acme is not installed"),
        (
            lambda site: next(site.glob("*.dist-info/METADATA")).write_text(
                "Metadata-Version: 2.1\nName: acme-gateway\nVersion: 1.2.4\n"
            ),
            "acme-gateway 1.2.4, not acme-gateway 1.2.3",
        ),
        (
            lambda site: next(site.glob("*.dist-info/RECORD")).write_text(
                "acme_gateway/plugin.py,sha256=AAAA,1\n"
            ),
            "the files of acme-gateway are others",
        ),
    ],
)
def test_what_is_not_as_it_was_locked_refuses_the_start(
    site: Path, config: Path, change: object, says: str
) -> None:
    locked(site, config)
    assert callable(change)
    change(site)

    started = run(site, "start", "-c", str(config), "-H", "127.0.0.1")

    assert started.returncode == 78
    assert says in started.stderr


def test_validate_refuses_what_a_locked_start_would(site: Path, config: Path) -> None:
    locked(site, config)
    fine = run(site, "validate", str(config))
    (site / "acme_gateway/plugin.py").write_text("x = 1")
    changed = run(site, "validate", str(config))

    assert (fine.returncode, changed.returncode) == (0, 1)
    assert "was changed after" in changed.stdout + changed.stderr


@pytest.mark.parametrize("text", [None, "no json", "[]", '{"version": 9, "plugins": {}}'])
def test_without_a_lock_file_a_locked_start_is_refused(
    site: Path, config: Path, text: str | None
) -> None:
    if text is not None:
        (config.parent / "plugins.lock").write_text(text)

    started = run(site, "start", "-c", str(config), "-H", "127.0.0.1")

    assert started.returncode == 78
    assert "plugins.lock" in started.stderr


def test_a_new_lock_replaces_one_that_does_not_fit(site: Path, config: Path) -> None:
    """And is the same, byte for byte, where nothing changed."""
    lock = locked(site, config)
    before = lock.read_text()
    lock.write_text("broken")

    locked(site, config)

    assert lock.read_text() == before
