#!/usr/bin/env bash
# Builds every wheel, installs them all in an empty environment, and loads each plugin there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv build --all-packages --wheel -q -o "$work/wheels"
uv venv -q "$work/venv"
for wheel in "$work"/wheels/*.whl; do
  VIRTUAL_ENV="$work/venv" uv pip install -q --find-links "$work/wheels" "$wheel"
done
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
from importlib.metadata import entry_points

found = [*entry_points(group="llm_gateway.plugins"), *entry_points(group="llm_gateway.commands")]
assert found, "no plugin is installed"
for each in found:
    each.load()
    print("loads:", each.group, each.name)
PYTHON
"$work/venv/bin/llm-gateway" plugins check
