"""What a run of the kit proves of a plugin: a level for each capability.

``proven``: at least one case, and all of its checks pass. ``failing``: a check fails.
``claimed``: the plugin says or has it, and no case shows it. ``absent``: neither.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import llm_gateway_api as gw

from llm_gateway_testkit.cases import Case

Level = Literal["proven", "failing", "claimed", "absent"]
CAPABILITIES = (
    "chat", "stream", "tools", "parallel_tools", "vision", "audio", "files",
    "structured_output", "reasoning", "logprobs", "multiple_choices", "unknown_fields",
    "refusals", "errors", "usage", "prompt_cache", "embeddings", "rerank", "count_tokens",
)  # fmt: skip
# What a plugin's `surfaces` call otherwise.
_SAME = {"streaming": "stream", "json_schema": "structured_output"}


@dataclass(slots=True)
class Tally:
    cases: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Report:
    """Fills while the suite runs; one row for each kind and capability."""

    plugins: dict[str, str] = field(default_factory=dict)
    rows: dict[str, dict[str, Tally]] = field(default_factory=dict)
    claims: dict[str, set[str]] = field(default_factory=dict)

    def claim(self, plugin: str, kind: str, names: Iterable[str]) -> None:
        self.plugins[kind] = plugin
        self.claims.setdefault(kind, set()).update(_SAME.get(each, each) for each in names)
        self.rows.setdefault(kind, {})

    def take(self, kind: str, capabilities: Iterable[str], case: str, passed: bool) -> None:
        rows = self.rows.setdefault(kind, {})
        for each in capabilities:
            tally = rows.setdefault(each, Tally())
            tally.cases.add(case)
            if not passed:
                tally.failed.add(case)

    def level(self, kind: str, capability: str) -> Level:
        tally = self.rows.get(kind, {}).get(capability)
        if tally is not None and tally.cases:
            return "failing" if tally.failed else "proven"
        return "claimed" if capability in self.claims.get(kind, ()) else "absent"

    def document(self) -> dict[str, Any]:
        return {
            kind: {
                "plugin": self.plugins.get(kind, ""),
                "capabilities": {each: self._cell(kind, each) for each in self._columns(kind)},
            }
            for kind in sorted(self.rows)
        }

    def json(self) -> str:
        return json.dumps(self.document(), indent=2, sort_keys=False) + "\n"

    def markdown(self) -> str:
        """A table of kinds and capabilities, for a page of documentation."""
        kinds = sorted(self.rows)
        rows = [("capability", *kinds), ("---", *("---" for _ in kinds))]
        named = dict.fromkeys(each for kind in kinds for each in self._columns(kind))
        rows += [(each, *(self.level(kind, each) for kind in kinds)) for each in named]
        return "".join(f"| {' | '.join(row)} |\n" for row in rows)

    def text(self) -> list[str]:
        lines: list[str] = []
        for kind in sorted(self.rows):
            lines.append(f"{self.plugins.get(kind, '')}: {kind}")
            for each in self._columns(kind):
                cell = self._cell(kind, each)
                failed = f"  failing: {', '.join(cell['failing'])}" if cell["failing"] else ""
                lines.append(f"  {each:<18} {cell['level']:<8} {cell['cases']:>3} cases{failed}")
        return lines

    def _columns(self, kind: str) -> list[str]:
        further = sorted(self.rows.get(kind, {}).keys() - set(CAPABILITIES))
        return [*CAPABILITIES, *further]

    def _cell(self, kind: str, capability: str) -> dict[str, Any]:
        tally = self.rows.get(kind, {}).get(capability, Tally())
        return {
            "level": self.level(kind, capability),
            "cases": len(tally.cases),
            "failing": sorted(tally.failed),
        }


def capabilities(case: Case) -> set[str]:
    """What a case shows, from its request and its outcome."""
    if case.capability:
        return {case.capability}
    if case.refusal is not None:
        return {"refusals"}
    if case.failure is not None:
        return {"errors"}
    request = case.request
    if isinstance(request, gw.EmbeddingsRequest):
        return {"embeddings"}
    if isinstance(request, gw.RerankRequest):
        return {"rerank"}
    if case.operation == "count_tokens":
        return {"count_tokens"}
    return {"chat", *_asked(request), *_answered(case.events)}


def _asked(request: gw.ChatRequest) -> set[str]:
    parts = [part for message in request.messages for part in message.parts]
    kinds: dict[type, str] = {
        gw.ImagePart: "vision",
        gw.AudioPart: "audio",
        gw.FilePart: "files",
        gw.ToolCallPart: "tools",
        gw.ToolResultPart: "tools",
        gw.ReasoningPart: "reasoning",
    }
    found = {kinds[type(part)] for part in parts if type(part) in kinds}
    form = request.params.get("response_format")
    shown = {
        "stream": request.stream,
        "tools": bool(request.tools),
        "structured_output": isinstance(form, dict) and form.get("type") != "text",
        "logprobs": bool(request.params.get("logprobs")),
        "multiple_choices": request.params.get("n") not in (None, 1),
        "unknown_fields": bool(request.extra),
    }
    return found | {name for name, yes in shown.items() if yes}


def _answered(events: Iterable[gw.Event]) -> set[str]:
    found: set[str] = set()
    for event in events:
        if isinstance(event, gw.ToolCallDelta):
            found |= {"tools", "parallel_tools"} if event.call else {"tools"}
        elif isinstance(event, gw.ReasoningDelta):
            found.add("reasoning")
        elif isinstance(event, gw.Unknown):
            found.add("unknown_fields")
        elif isinstance(event, gw.UsageReport):
            found.add("usage")
            if event.usage.cache_read or event.usage.cache_write:
                found.add("prompt_cache")
    return found
