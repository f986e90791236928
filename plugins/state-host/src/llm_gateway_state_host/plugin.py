"""Declares the backends ``process`` and ``host``."""

from pathlib import Path
from typing import TYPE_CHECKING

from llm_gateway_api import StateBackendSpec, hookimpl

if TYPE_CHECKING:
    from llm_gateway_api import StateBackend, StateSettings, Turn


@hookimpl
def llm_gateway_state_backends() -> list[StateBackendSpec]:
    return [
        StateBackendSpec("process", "process", process),
        StateBackendSpec("host", "host", host, needs=("data_dir", "turn")),
    ]


def process(settings: "StateSettings") -> "StateBackend":
    from llm_gateway_state_host.process import ProcessState

    return ProcessState()


def host(settings: "StateSettings", data_dir: Path, turn: "Turn") -> "StateBackend":
    from llm_gateway_state_host.host import HostState

    return HostState(data_dir / "state", turn)
