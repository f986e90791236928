"""Writes parameters.md and vendors.md from what the code does and the conformance kit finds.

    uv run --all-packages python kernel/gateway/docs/vendors.py

parameters.md has each provider encode each parameter. vendors.md runs the conformance kit on
every provider with its own cases, and both vendors' SDKs against every provider; that takes
some minutes. Tests fail where a page is not what this would write.
"""

import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from time import time
from typing import Any

from llm_gateway.matrix import outcomes
from llm_gateway_api import ModelInfo, ProviderSpec
from llm_gateway_testkit.report import CAPABILITIES
from llm_gateway_testkit.vendors import Vendor, vendors

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[2]
MADE = "Made by `vendors.py`; change what it reads and run it.\n"
SIGNS = {"mapped": "", "dropped": "dropped", "refused": "refused"}
SDK_TESTS = "tests/e2e/test_all_vendors.py"
CASES = {
    "test_text": "text",
    "test_stream": "stream",
    "test_tools_round_trip": "tools",
    "test_image": "vision",
    "test_structured_output": "structured output",
    "test_error": "errors",
}
ROUTES = {
    "OpenAI": "OpenAI Chat Completions",
    "Anthropic": "Anthropic Messages",
    "Responses": "OpenAI Responses",
}
LEVELS = {"proven": "proven", "claimed": "claimed", "failing": "**failing**", "absent": "-"}


def specs() -> dict[str, tuple[EntryPoint, ProviderSpec]]:
    found = {}
    for point in entry_points(group="llm_gateway.plugins"):
        declared = getattr(point.load(), "llm_gateway_providers", None)
        for spec in declared() if declared is not None else ():
            found[spec.kind] = (point, spec)
    return found


def models(row: Vendor, spec: ProviderSpec) -> tuple[Any, Sequence[ModelInfo]]:
    """The provider of `row`, and its models with what the catalogues know."""
    settings = spec.settings.model_validate(row.configured("https://vendor.example"))  # type: ignore[attr-defined]
    offers = {"clock": time}
    provider = spec.make(row.kind, settings, **{name: offers.get(name) for name in spec.needs})
    return provider, tuple(provider.models()) or (ModelInfo(row.model),)


@cache
def catalogues() -> list[Any]:
    """Every catalogue that is installed, with its default settings."""
    found = []
    for point in entry_points(group="llm_gateway.plugins"):
        module = point.load()
        sections = {s.path: s.model for s in getattr(module, "llm_gateway_settings", list)()}
        for spec in getattr(module, "llm_gateway_catalogs", list)():
            given = (sections[spec.settings](),) if spec.settings else ()
            found.append(spec.make(*given))
    return found


def known(kind: str, info: ModelInfo) -> ModelInfo:
    for each in catalogues():
        if (found := each.info(kind, info.base or info.id)) is not None:
            return found
    return info


def parameters() -> str:
    """What becomes of each parameter with each model; models alike share a column."""
    text = f"# Parameters by model\n\n{MADE}\nAn empty cell is mapped to the vendor's own form; "
    text += "`dropped` is left out and named in `x-gateway-dropped`; `refused` is a 400 that "
    text += "names it. A value that asks for nothing (`n: 1`) is never refused.\n"
    declared = specs()
    for row in vendors():
        provider, found = models(row, declared[row.kind][1])
        groups: dict[tuple[tuple[str, str], ...], list[str]] = defaultdict(list)
        for info in found:
            if "chat" in (known(row.kind, info).capabilities or {"chat"}):
                groups[tuple(outcomes(provider, info.id).items())].append(info.id)
        text += f"\n## `{row.kind}`\n\n" + "".join(_groups(groups))
    return text


def _groups(groups: Mapping[tuple[tuple[str, str], ...], Sequence[str]]) -> Iterator[str]:
    alone = len(groups) == 1
    heads = [f"{chr(65 + at)}" if not alone else "all models" for at in range(len(groups))]
    yield f"| parameter | {' | '.join(heads)} |\n| --- |{' --- |' * len(groups)}\n"
    columns = [dict(each) for each in groups]
    for name in columns[0]:
        cells = [SIGNS[each[name]] for each in columns]
        if any(cells):
            yield f"| `{name}` | {' | '.join(cells)} |\n"
    if not any(SIGNS[each] for column in columns for each in column.values()):
        yield f"| all | {' | '.join(heads and ['mapped'] * len(groups))} |\n"
    if not alone:
        yield "\n"
        for head, ids in zip(heads, groups.values(), strict=True):
            yield f"- {head}: {', '.join(f'`{each}`' for each in ids)}\n"


def vendors_page() -> str:
    """Vendors by capability, by dialect, with the largest context and the status."""
    declared = specs()
    rows = [(each, *declared[each.kind]) for each in vendors()]
    text = f"# Vendors\n\n{MADE}\n## Status\n\n"
    text += "| vendor | status | largest context, tokens | models with a price |\n"
    text += "| --- | --- | --: | --: |\n"
    for row, _, spec in rows:
        text += f"| `{row.kind}` | {spec.status} | {' | '.join(_sizes(row, spec))} |\n"
    text += "\n## Capabilities, as the conformance kit finds them\n\n"
    text += "`proven`: cases show it, and each of their checks passes. `claimed`: no case shows "
    text += "it. -: neither.\n\n" + _levels(rows)
    text += (
        "\n## Dialects\n\nThe `openai` SDK at `/v1/chat/completions` and `/v1/responses`, and the "
    )
    text += (
        "`anthropic` SDK at `/v1/messages`, with a strict scripted server of each vendor behind "
    )
    text += "the gateway. Plain and streamed tools are one column.\n" + "".join(_dialects())
    return text


def _sizes(row: Vendor, spec: ProviderSpec) -> tuple[str, str]:
    every = {info.id: info for each in catalogues() for info in each.models(row.kind)}
    own = [known(row.kind, info) for info in models(row, spec)[1]]
    largest = max((info.context_window or 0 for info in (*every.values(), *own)), default=0)
    priced = [id for id in every if any(each.price(row.kind, id, time()) for each in catalogues())]
    return f"{largest:,}" if largest else "-", str(len(priced)) if priced else "-"


def _levels(rows: Sequence[tuple[Vendor, EntryPoint, ProviderSpec]]) -> str:
    text = f"| capability | {' | '.join(f'`{row.kind}`' for row, _, _ in rows)} |\n"
    text += f"| --- |{' --- |' * len(rows)}\n"
    reports = {row.kind: _kit(row.kind, point) for row, point, _ in rows}
    for name in CAPABILITIES:
        cells = [LEVELS[reports[row.kind][name]["level"]] for row, _, _ in rows]
        text += f"| {name.replace('_', ' ')} | {' | '.join(cells)} |\n"
    return text


def _kit(kind: str, point: EntryPoint) -> dict[str, Any]:
    """The kit's run on one plugin, with the cases of its package."""
    folder = next(ROOT.glob(f"*/{point.name.replace('_', '-')}/tests/cases"))
    with tempfile.TemporaryDirectory() as work:
        report = Path(work) / "report.json"
        given = ["--llm-gateway-plugin", point.name, "--llm-gateway-cases", str(folder)]
        _pytest(work, *given, "--llm-gateway-report", str(report))
        found: dict[str, Any] = json.loads(report.read_text())[kind]["capabilities"]
        return found


def _dialects() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as work:
        report = Path(work) / "junit.xml"
        _pytest(SDK_TESTS, f"--junitxml={report}")
        cases = list(ET.parse(report).iter("testcase"))
    passed: dict[tuple[str, str, str], bool] = defaultdict(lambda: True)
    for each in cases:
        name, _, kind = each.attrib["name"].rstrip("]").partition("[")
        dialect = each.attrib["classname"].rpartition("Test")[2]
        ok = each.find("failure") is None and each.find("error") is None
        passed[dialect, kind.partition("-")[0], CASES[name]] &= ok
    columns, formless = list(CASES.values()), {row.kind for row in vendors() if not row.forms}
    at = columns.index(CASES["test_structured_output"])
    for dialect in dict.fromkeys(key[0] for key in passed):
        yield f"\n| {ROUTES[dialect]} | {' | '.join(columns)} |\n"
        yield f"| --- |{' --- |' * len(columns)}\n"
        for kind in dict.fromkeys(key[1] for key in passed):
            cells = ["passes" if passed[dialect, kind, each] else "**fails**" for each in columns]
            if kind in formless and cells[at] == "passes":
                cells[at] = "refused by name"
            yield f"| `{kind}` | {' | '.join(cells)} |\n"


def _pytest(*given: str) -> None:
    line = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), *given]
    subprocess.run(line, cwd=ROOT, check=False, stdout=subprocess.DEVNULL)


PAGES = {"parameters.md": parameters, "vendors.md": vendors_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
