"""Which plugin a suite runs on, and where its cases lie.

A suite runs by ``--llm-gateway-plugin NAME``, or inside a test module that imports all of it
and says ``PLUGIN = "provider_acme"``; the cases then lie in ``cases`` beside that module.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

LLM_GATEWAY_SUITE = True


def plugin_name(config: pytest.Config, module: Any) -> str:
    name = getattr(module, "PLUGIN", None) or config.getoption("--llm-gateway-plugin")
    assert isinstance(name, str), "say PLUGIN = ... or --llm-gateway-plugin NAME"
    return name


def cases_folder(config: pytest.Config, module: ModuleType) -> Path:
    if hasattr(module, "PLUGIN"):
        return Path(str(module.__file__)).parent / "cases"
    chosen = config.getoption("--llm-gateway-cases")
    folder = Path(chosen) if chosen else config.invocation_params.dir / "tests" / "cases"
    if chosen and not folder.is_dir():
        raise pytest.UsageError(f"{folder} is no folder")
    return folder


def label(spec: Any) -> str:
    """How the report calls what a spec declares."""
    return str(getattr(spec, "kind", None) or spec.dialect)
