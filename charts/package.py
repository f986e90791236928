"""Package the chart and write the index that `helm repo add` reads: `package.py FOLDER URL`."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import helm_python
import yaml


def publish(folder: Path, url: str) -> None:
    """Write the chart's archive and an index with this one version into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).parent / "llm-gateway"
    archive = Path(helm_python.package(source, destination=folder))
    entry = {
        **yaml.safe_load((source / "Chart.yaml").read_text()),
        "created": datetime.now(UTC).isoformat(),
        "digest": helm_python.digest(archive).removeprefix("sha256:"),
        "urls": [f"{url.rstrip('/')}/{archive.name}"],
    }
    index = {"apiVersion": "v1", "generated": entry["created"], "entries": {entry["name"]: [entry]}}
    (folder / "index.yaml").write_text(yaml.safe_dump(index, sort_keys=False))


if __name__ == "__main__":
    publish(Path(sys.argv[1]), sys.argv[2])
