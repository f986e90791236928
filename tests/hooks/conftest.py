"""Installs the test plugin from its wheel and runs gateways that see it."""

import os
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from llm_gateway_testkit.gateway import Gateway, running_gateway

HERE = Path(__file__).parent


def installed(name: str, folder: Path) -> str:
    """A folder with the distribution `name` as it is installed from its wheel."""
    subprocess.run(
        ["uv", "build", "--wheel", "-q", "-o", str(folder / "dist"), str(HERE / name)],
        check=True,
        capture_output=True,
    )
    for wheel in (folder / "dist").glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(folder / "site")
    return str(folder / "site")


@pytest.fixture(scope="session")
def wheel_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return installed("acme", tmp_path_factory.mktemp("acme"))


@pytest.fixture(scope="session")
def broken_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return installed("broken", tmp_path_factory.mktemp("broken"))


CONFIG: dict[str, Any] = {
    "providers": {"acme": {"kind": "acme"}},
    "routing": {
        "strategy": "acme_second",
        "health_check_interval_seconds": 30,
        "default_provider": "acme",
        "models": [
            {
                "name": "pair",
                "deployments": [
                    {"provider": "acme", "model": "acme-1"},
                    {"provider": "acme", "model": "acme-2"},
                ],
            }
        ],
    },
    "plugins": {"acme": {"greeting": "good day"}},
}


class Acme:
    """A gateway with the plugin, and how to talk to it."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    @asynccontextmanager
    async def running(self, **changes: Any) -> AsyncIterator[Gateway]:
        path = os.pathsep.join([self._folder, *filter(None, [os.environ.get("PYTHONPATH")])])
        env = {"PYTHONPATH": path, "LLM_GATEWAY_ADMIN_KEY": "admin-key-0123456789abcdef"}
        async with running_gateway({**CONFIG, **changes}, env) as gateway:
            yield gateway

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "llm_gateway", *arguments],
            env={
                **os.environ,
                "PYTHONPATH": self._folder,
                "LLM_GATEWAY_DATA_DIR": f"{self._folder}/../data",
            },
            capture_output=True,
            text=True,
            timeout=30,
        )


@pytest.fixture
def acme(wheel_folder: str) -> Acme:
    return Acme(wheel_folder)
