"""The configuration explained: its JSON Schema, and a sample file made from that schema."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from llm_gateway.plugins import Plugins
from llm_gateway.sections import CONTRACTS, KERNEL

_REF = "#/$defs/"


def schema(plugins: Plugins) -> dict[str, Any]:
    """JSON Schema of the whole configuration, with what the installed plugins add."""
    models: dict[str, Any] = dict(KERNEL)
    models |= {name: model for name, (hook, model) in CONTRACTS.items() if plugins.declared(hook)}
    models |= {spec.path: spec.model for _, spec in plugins.declared("settings")}
    kinds = {spec.kind: spec.settings for _, spec in plugins.declared("providers")}
    adapters = [(path, "validation", TypeAdapter(model)) for path, model in models.items()]
    adapters += [(f"providers.{kind}", "validation", TypeAdapter(m)) for kind, m in kinds.items()]
    schemas, shared = TypeAdapter.json_schemas(adapters)  # type: ignore[arg-type]  # invariant list
    defs: dict[str, Any] = shared.get("$defs", {})
    root: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
    for path in sorted(models, key=lambda each: each.count(".")):
        at = root
        *parents, last = path.split(".")
        for step in parents:
            own = at.setdefault("properties", {}).setdefault(step, {"type": "object"})
            at = _resolved(own, defs)
        at.setdefault("properties", {})[last] = schemas[(path, "validation")]
    by_kind = {kind: schemas[(f"providers.{kind}", "validation")] for kind in kinds}
    root["properties"]["providers"] = {
        "type": "object",
        "description": "the instances of providers, by name",
        "properties": by_kind,
        "additionalProperties": {"anyOf": list(by_kind.values())} if by_kind else False,
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, "$defs": defs}


def sample(plugins: Plugins) -> str:
    """A configuration file that says nothing yet: each key, its default and its meaning."""
    whole = schema(plugins)
    lines = ["# Every key of this installation, with its default. ${NAME} is a variable.", ""]
    for name, each in whole["properties"].items():
        lines += _section(name, each, whole["$defs"], 0)
        lines.append("")
    return "\n".join(lines)


def _section(name: str, own: dict[str, Any], defs: dict[str, Any], depth: int) -> Iterator[str]:
    full = _resolved(own, defs)
    pad = "# " + "  " * depth
    about = " ".join(str(own.get("description") or full.get("description") or "").split())
    note = f"  # {about}" if about else ""
    properties = full.get("properties")
    if properties and depth < 4:
        yield f"{pad}{name}:{note}"
        for key, each in properties.items():
            yield from _section(key, each, defs, depth + 1)
    elif "default" in own:
        default = json.dumps(own["default"], ensure_ascii=False)
        yield f"{pad}{name}: {default}{note}"
    else:
        empty = {"object": " {}", "array": " []"}.get(str(full.get("type")), "")
        yield f"{pad}{name}:{empty}{note}"


def _resolved(own: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    """`own`, or what it refers to, so that what is added there is seen by all."""
    ref = own.get("$ref")
    return defs[ref.removeprefix(_REF)] if isinstance(ref, str) else own
