#!/usr/bin/env bash
# A release, step by step: charts/release.sh wheels | bom | audit | image NAME | scan NAME | chart URL
# Everything goes to dist/. `image` needs Docker, `scan` Trivy; the others need uv alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

wheels() { # every package, reproducibly: the time is the last commit's
  SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) uv build --all-packages --wheel -q -o dist/wheels
}

bom() { # what is installed where a release is, our own packages included (CycloneDX)
  [ -d dist/wheels ] || wheels
  uv venv -q --clear dist/installed
  uv pip install -q --python dist/installed --require-hashes -r requirements.lock
  find dist/wheels -name '*.whl' ! -name 'llm_gateway_testkit-*' -printf '%f\n' | cut -d- -f1 \
    | xargs uv pip install -q --python dist/installed --no-deps --no-index --find-links dist/wheels
  uvx --from cyclonedx-bom cyclonedx-py environment dist/installed/bin/python \
    --output-reproducible --of JSON -o dist/llm-gateway.cdx.json
}

audit() { # known holes of what the lock names
  uvx pip-audit -r requirements.lock --no-deps --disable-pip
}

image() {
  docker build --provenance=true -f charts/docker/Dockerfile -t "$1" .
}

scan() { # the image with the distribution's packages; ends with 1 at a hole that has a fix
  trivy image --format cyclonedx --output dist/image.cdx.json "$1"
  trivy image --severity HIGH,CRITICAL --ignore-unfixed --exit-code 1 "$1"
}

chart() {
  uv run --all-packages --group delivery python charts/package.py dist/charts "$1"
}

case ${1-} in
  wheels | bom | audit) "$1" ;;
  image | scan | chart) "$1" "${2:?it needs one argument more: see the first lines of this file}" ;;
  *) sed -n '2,3s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
