"""Writes settings.md, metrics.md, hooks.md, errors.md and packages.md from declarations, and
the table of privacy.md.

    uv run --all-packages python kernel/gateway/docs/generate.py

What a plugin declares stands in its own README. A test fails where a page is not what this
would write.
"""

import ast
import dataclasses
import inspect
import json
import re
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import llm_gateway
import llm_gateway_api
import llm_gateway_api.contracts as contracts
import llm_gateway_api.errors as errors
import llm_gateway_api.hookspecs as hookspecs
from llm_gateway.observe import Counts
from llm_gateway.plugins import discover
from llm_gateway.sections import CONTRACTS, KERNEL
from llm_gateway.selection import selected
from llm_gateway_api import Metrics, ProviderSettings
from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

FOLDER = Path(__file__).parent
MADE = "Made by `generate.py` from the declarations; change those and run it.\n"
WRITTEN = (
    "A section stands in the configuration once its name is written, even with nothing below it\n"
    "(`rate_limit: {}`): what waits for its part is armed then, with the defaults.\n"
)
START = "<!-- what plugins declare: made by generate.py -->"
END = "<!-- end -->"
HEAD = "| key | default | meaning |\n| --- | --- | --- |\n"


def settings() -> str:
    """Every key that the kernel and its contracts own."""
    text = f"# Settings of the kernel\n\n{MADE}\n{WRITTEN}"
    for name, model in KERNEL.items():
        text += f"\n## `{name}`\n\n{HEAD}" + "".join(_rows(name, model))
    for name, (hook, model) in CONTRACTS.items():
        text += f"\n## `{name}`, while a plugin brings `llm_gateway_{hook}`\n\n{HEAD}"
        text += "".join(_rows(name, model))
    text += f"\n## `providers.<name>`, beside what its kind adds\n\n{HEAD}"
    text += "".join(_rows("", ProviderSettings))
    text += (
        "\n## Of plugins\n\nTheir READMEs have the keys; a kind of provider's stand in its own.\n\n"
    )
    text += "| section | package |\n| --- | --- |\n"
    found = discover(selected(None, {})).declared("settings")
    for plugin, spec in sorted(found, key=lambda each: str(each[1].path)):
        name = plugin.replace("_", "-")
        text += f"| `{spec.path}` | [{name}](../../../plugins/{name}/README.md) |\n"
    return text


def _rows(path: str, model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = f"{path}.{name}" if path else name
        value = field.get_default(call_default_factory=True)
        inner = next((each for each in _models(field.annotation)), None)
        about = " ".join((field.description or "").split()).replace("|", "\\|")
        if isinstance(value, BaseModel):
            yield from _rows(key, type(value))
        else:
            yield f"| `{key}` | {_default(value)} | {about} |\n"
            if inner is not None:
                yield from _rows(f"{key}[]" if isinstance(value, tuple) else key, inner)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for each in getattr(annotation, "__args__", ()):
        yield from _models(each)


def _default(value: object) -> str:
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return ""
    return f"`{json.dumps(value, default=list)}`" if not isinstance(value, SecretStr) else ""


def metrics() -> str:
    """Every metric that the kernel counts; on the page of ``telemetry-prometheus``."""
    declared = Metrics()
    Counts(declared)
    text = f"# Metrics of the kernel\n\n{MADE}\n"
    text += "| metric | kind | labels | meaning |\n| --- | --- | --- | --- |\n"
    for each in sorted(declared.families(), key=lambda family: family.name):
        labels = ", ".join(f"`{label}`" for label in each.labels)
        text += f"| `{each.name}` | {each.kind} | {labels} | {each.help} |\n"
    text += "\n## Of plugins\n\n| metric | kind | package | meaning |\n| --- | --- | --- | --- |\n"
    for name, kind, folder, about in sorted(_metrics_of_plugins()):
        package = f"[{folder}](../../../plugins/{folder}/README.md)"
        text += f"| `{name}` | {kind} | {package} | {about} |\n"
    return text


def _metrics_of_plugins() -> Iterator[tuple[str, str, str, str]]:
    """What is written out where a plugin declares a metric: its name, and what it means."""
    for folder in sorted((FOLDER.parents[2] / "plugins").glob("*/src")):
        for path in folder.rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names = dict[str, ast.expr]()
            for each in (each for each in tree.body if isinstance(each, ast.Assign)):
                target, value = each.targets[0], each.value
                if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                    names |= zip(map(ast.unparse, target.elts), value.elts, strict=True)
                else:
                    names[ast.unparse(target)] = value
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    given = [_written(each, names) for each in node.args[:2]]
                    if len(given) == 2 and given[0].startswith("gateway_") and given[1]:
                        yield given[0], node.func.attr, folder.parent.name, given[1]


def _written(node: ast.expr, names: dict[str, ast.expr]) -> str:
    """A text, also one made of texts that stand at the top of its module; else nothing."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_written(each, names) for each in node.values)
    inner = node.value if isinstance(node, ast.FormattedValue) else node
    found = names.get(ast.unparse(inner))
    return _written(found, {}) if found is not None else ""


# Where the object that `make` returns is not called as its spec is.
OBJECTS = {"Catalog": "ModelCatalog", "Endpoint": "EndpointHandler", "Settings": "Section"}


def hooks() -> str:
    """Every hook with its contract, what it declares, and who implements it."""
    rules = (contracts.__doc__ or "").partition("\n\n")[2]
    text = f"# Hooks\n\n{MADE}\n{hookspecs.__doc__}\n{rules}"
    for name, each in sorted(inspect.getmembers(hookspecs, inspect.isfunction)):
        if name.startswith("llm_gateway_"):
            returns = str(each.__annotations__["return"]).replace("specs.", "")
            about = re.sub(r"(?m)^(Returns|Raises):$", r"**\1**\n", inspect.getdoc(each) or "")
            about = re.sub(r"(?m)^    ", "", about)
            text += f"\n## `{name}`\n\n`{returns}`\n\n{about}\n"
            text += _declared(returns.removeprefix("Iterable[").removesuffix("]"))
            text += f"\n**Examples**: {', '.join(_examples(name))}\n"
    return text


def _declared(name: str) -> str:
    """The spec with its members, and what its `make` returns with its methods."""
    spec = getattr(llm_gateway_api, name)
    text = f"\n**`{name}`**: {_members(spec)}\n{_told(spec)}"
    kind = name.removesuffix("Spec")
    made = getattr(llm_gateway_api, OBJECTS.get(kind, kind), None)
    if made is None:
        return text
    text += f"\n**`{made.__name__}`**\n{_told(made)}"
    if not issubclass(made, Protocol):
        return text
    lines = []
    for word, each in vars(made).items():
        if inspect.isfunction(each) and (word == "__call__" or not word.startswith("_")):
            about = " ".join(inspect.cleandoc(each.__doc__ or "").split("\n\n")[0].split())
            kind = "async " if inspect.iscoroutinefunction(each) else ""
            lines.append(
                f"- `{kind}{word}{_signature(each)}`" + (f": {about}\n" if about else "\n")
            )
    return text + "\n" + "".join(lines)


def _members(spec: type) -> str:
    shown = []
    for each in dataclasses.fields(spec):
        optional = each.default is not dataclasses.MISSING
        optional = optional or each.default_factory is not dataclasses.MISSING
        shown.append(f"`{each.name}`" + ("" if optional else " (required)"))
    return ", ".join(shown)


def _told(each: type) -> str:
    """The docstring, where somebody wrote one."""
    about = inspect.getdoc(each) or ""
    return "" if about.startswith(f"{each.__name__}(") or not each.__doc__ else f"\n{about}\n"


def _signature(each: Any) -> str:
    """As it is written, without `self`."""
    node = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None
    arguments = re.sub(r"^self(, )?", "", ast.unparse(node.args))
    return f"({arguments}) -> {ast.unparse(node.returns)}".replace("'", "")


def _examples(hook: str) -> Iterator[str]:
    """The plugins of this repository that implement a hook, and the tests' own, which has all."""
    root = FOLDER.parents[2]
    for top in ("plugins", "migrations"):
        for folder in sorted({each.parent for each in root.glob(f"{top}/**/pyproject.toml")}):
            sources = folder.glob("src/**/*.py")
            if any(f"def {hook}(" in each.read_text(encoding="utf-8") for each in sources):
                yield f"[{folder.name}](../../../{folder.relative_to(root)})"
    yield "[acme](../../../tests/hooks/acme/src/acme_gateway)"


def error_page() -> str:
    """Every error with its code; what follows from each way in which an attempt fails."""
    text = f"# Errors\n\n{MADE}\nThe code is stable; the message is for people.\n\n"
    text += "| status | code | type | retry | when |\n| --- | --- | --- | --- | --- |\n"
    for each in _tree(errors.GatewayError):
        about = (inspect.getdoc(each) if each.__doc__ else "") or ""
        about = about.split("\n\n")[0].replace("\n", " ")
        retry = "yes" if each.retryable else ""
        text += f"| {each.status} | `{each.code}` | `{each.type}` | {retry} | {about} |\n"
    text += "\nRaised where it happens, with a code of its own:\n\n"
    text += "".join(f"- `{code}` ({where})\n" for code, where in sorted(_codes().items()))
    text += "\n## What plugins refuse\n\nAs their READMEs say.\n\n"
    text += "| package | answers |\n| --- | --- |\n"
    for folder, told in _refusals():
        text += f"| [{folder.name}](../../../plugins/{folder.name}/README.md) | {told} |\n"
    text += "\n## When an attempt fails\n\n"
    text += "| failure | status | code | same target again | next target | breaker counts |\n"
    text += "| --- | --- | --- | --- | --- | --- |\n"
    for failure, policy in errors.FAILURES.items():
        said = [
            policy.status or "the vendor's",
            f"`{policy.code}`" if policy.code else "the vendor's",
        ]
        said += [
            "yes" if each else "" for each in (policy.retry_same, policy.try_next, policy.breaker)
        ]
        text += f"| `{failure}` | {' | '.join(map(str, said))} |\n"
    return text


def _tree(root: type[errors.GatewayError]) -> Iterator[type[errors.GatewayError]]:
    own = vars(errors)
    yield root
    for each in root.__subclasses__():
        if own.get(each.__name__) is each:
            yield from _tree(each)


def _codes() -> dict[str, str]:
    """The literals given as `code` in the kernel, with the module that gives each."""
    found: dict[str, str] = {}
    for package in (llm_gateway, llm_gateway_api):
        for path in sorted(Path(package.__file__ or "").parent.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.keyword) and node.arg == "code":
                    for each in ast.walk(node.value):
                        if isinstance(each, ast.Constant) and re.fullmatch(
                            "[a-z]+(_[a-z]+)+", str(each.value)
                        ):
                            found.setdefault(str(each.value), path.stem)
    return found


def _refusals() -> Iterator[tuple[Path, str]]:
    """Each plugin whose README names answers of its own, as `503 bulkhead_full`."""
    for path in sorted((FOLDER.parents[2] / "plugins").glob("*/README.md")):
        found = re.findall(r"`([45]\d\d [a-z]+(?:_[a-z]+)+)`", path.read_text(encoding="utf-8"))
        if found:
            yield path.parent, ", ".join(f"`{each}`" for each in sorted(set(found)))


def packages() -> str:
    """Every package of the repository, and whether the default installation has it."""
    root = FOLDER.parents[2]
    meta = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    default = {re.split(r"[^\w-]", each)[0] for each in meta["dependencies"]}
    extras = {
        re.split(r"[^\w-]", each)[0]: f"`[{name}]`"
        for name, wanted in meta["optional-dependencies"].items()
        for each in wanted
    }
    text = f"# Packages\n\n{MADE}\n| package | what | installed |\n| --- | --- | --- |\n"
    for top in ("kernel", "plugins", "contrib-providers", "migrations"):
        for file in sorted(
            [*root.glob(f"{top}/*/pyproject.toml"), *root.glob(f"{top}/pyproject.toml")]
        ):
            own = tomllib.loads(file.read_text())["project"]
            where = file.parent.relative_to(root)
            when = "always" if own["name"] in default else extras.get(own["name"], "on its own")
            name = f"[{own['name']}](../../../{where}/README.md)"
            text += f"| {name} | {own['description']} | {when} |\n"
    return text


def privacy() -> str:
    """The page as it stands, with the table of what plugins declare made anew."""
    rows = "| kind | what | where | for how long | left by an erasure |\n" + "| --- " * 5 + "|\n"
    found = discover(selected(None, {}))
    for plugin, spec in sorted(found.declared("tenant_data"), key=lambda each: each[1].name):
        told = (spec.what, spec.where, spec.kept, spec.left)
        rows += f"| `{spec.name}` ({plugin}) | {' | '.join(told)} |\n"
    before, start, rest = (FOLDER / "privacy.md").read_text(encoding="utf-8").partition(START)
    return f"{before}{start}\n{rows}{END}{rest.partition(END)[2]}"


PAGES = {
    "settings.md": settings,
    "metrics.md": metrics,
    "hooks.md": hooks,
    "errors.md": error_page,
    "packages.md": packages,
    "privacy.md": privacy,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
