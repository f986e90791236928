"""The image itself, built and run without a daemon: Docker's form, Helm's and Kustomize's.

Needs root and Debian's buildah and debootstrap. The base is made here, so no registry of images is
asked; what the image installs comes from PyPI, by hash.
"""

import asyncio
import base64
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import free_ports
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import Answer, ScriptedProvider

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
REPOSITORY = Path(__file__).parents[2]
VENDOR_KEY = "sk-vendor-0123456789"
CALLER_KEY = "caller-key-0123456789abcdef"
ASKS = {"model": "gpt-4o", "messages": [{"role": "user", "content": "When is low tide?"}]}
DATA = "/var/lib/llm-gateway"
EVERYBODYS = {"/tmp", "/var/tmp", "/run/lock"}  # Debian's own; nothing of the image is in them
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Images:
    """buildah with a store of its own."""

    folder: Path

    def __call__(self, command: str, *args: str) -> str:
        done = subprocess.run(self.words(command, *args), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout.strip()

    def words(self, command: str, *args: str) -> list[str]:
        store = ["--root", f"{self.folder}/root", "--runroot", f"{self.folder}/run"]
        isolation = ["--isolation", "chroot"] if command in ("build", "run", "from") else []
        return ["buildah", "--storage-driver", "vfs", *store, command, *isolation, *args]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    """A store with the image `llm-gateway`, built from this repository's commit."""
    if os.geteuid() != 0 or not (shutil.which("buildah") and shutil.which("debootstrap")):
        pytest.skip("needs root, and Debian's buildah and debootstrap")
    folder = tmp_path_factory.mktemp("images")
    images = Images(folder)
    packages = "--include=python3,python3-venv,ca-certificates"
    subprocess.run(
        ["debootstrap", "--variant=minbase", packages, "bookworm", folder / "base"],
        check=True,
        capture_output=True,
    )
    scratch = images("from", "scratch")
    images("copy", "-q", scratch, str(folder / "base"), "/")
    images("commit", "-q", "--rm", scratch, "localhost/base")
    shutil.rmtree(folder / "base")
    source = folder / "source"
    subprocess.run(["git", "clone", "-q", REPOSITORY, source], check=True)
    certificates = ["--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"]  # where the network has its own
    file = str(source / "charts/docker/Dockerfile")
    base = ["--build-arg", "BASE=localhost/base"]
    images("build", *certificates, *base, "-f", file, "-t", "llm-gateway", str(source))
    yield images
    shutil.rmtree(folder)


@asynccontextmanager
async def serving(
    images: Images, environment: Mapping[str, str], *args: str, files: Path | None = None
) -> AsyncIterator[tuple[str, str]]:
    """A container of the image; its origin, and its name for `buildah`."""
    main, metrics = free_ports(2)
    container = images("from", "llm-gateway")
    given = {
        **environment,
        "SERVER_HOST": "127.0.0.1",
        "SERVER_PORT": str(main),
        "METRICS_PORT": str(metrics),
    }
    flags = [each for name, value in given.items() for each in ("--env", f"{name}={value}")]
    if files is not None:
        flags += ["--volume", f"{files}:/etc/llm-gateway:ro"]
    entry = images("inspect", "--format", "{{index .OCIv1.Config.Entrypoint 0}}", container)
    command = images.words("run", *flags, container, "--", entry, *args)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    try:
        await until_live(f"http://127.0.0.1:{main}", process)
        yield f"http://127.0.0.1:{main}", container
    finally:
        if process.returncode is None:
            process.terminate()
        print((await process.communicate())[0].decode()[-3000:])
        images("rm", container)


async def until_live(origin: str, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(60):
        while process.returncode is None:
            try:
                if (await call(f"{origin}/health/live")).status == 200:
                    return
            except OSError:
                await asyncio.sleep(0.1)
    raise AssertionError("it ended")


async def answered(origin: str, vendor: ScriptedProvider) -> None:
    """One request by way of the vendor, which wants its key."""
    answer = await call(f"{origin}/v1/chat/completions", ASKS, key=CALLER_KEY)
    assert answer.status == 200, answer.body
    assert len([each for each in vendor.received if each.path.endswith("completions")]) == 1


@pytest.fixture
async def vendor() -> AsyncIterator[ScriptedProvider]:
    async with ScriptedProvider(validator=openai.strict(VENDOR_KEY)) as provider:
        provider.default = openai.chat_answer()
        provider.probe = Answer(body=b'{"object": "list", "data": []}')
        yield provider


async def test_the_image_serves_by_its_environment_alone(
    images: Images, vendor: ScriptedProvider
) -> None:
    """As UID 1000, which may write to the data directory and to nothing else of the image."""
    environment = {
        "OPENAI_API_KEY": VENDOR_KEY,
        "LLM_GATEWAY_PROVIDERS__OPENAI__BASE_URL": f"{vendor.url}/v1",
        "LLM_GATEWAY_API_KEYS": CALLER_KEY,
    }
    async with serving(images, environment, "start") as (origin, container):
        await answered(origin, vendor)
        user = images("run", container, "--", "id", "-u")
        places = "! -type l ! -path '/proc/*' ! -path '/dev/*' ! -path '/sys/*'"
        found = f"find / -xdev -writable {places} 2>/dev/null; true"
        writable = set(images("run", container, "--", "sh", "-c", found).splitlines())
        tools = images("run", container, "--", "sh", "-c", "which gcc pip uv; true")
        wrong = await call(f"{origin}/v1/chat/completions", ASKS, key="another")

    assert user == "1000"
    assert {each for each in writable if not each.startswith(DATA)} <= EVERYBODYS
    assert tools == ""
    assert wrong.status == 401


@pytest.mark.parametrize(("given", "workers"), [("values", 1), ("secret", 1), ("secret", 3)])
async def test_helms_form_serves(
    given: str,
    workers: int,
    images: Images,
    vendor: ScriptedProvider,
    render: Callable[..., list[Document]],
    tmp_path: Path,
) -> None:
    """With the key among the values, and with the Secret made beside the chart; by as many
    processes as it was told."""
    openai_values = {"base_url": f"{vendor.url}/v1"}
    if given == "values":
        openai_values["apiKey"] = VENDOR_KEY
    values: Document = {"providers": {"openai": openai_values}, "workers": workers}
    documents = render({**values, "secrets": {"apiKeys": CALLER_KEY}})
    secrets = {"llm-provider-secrets": {"openai-api-key": VENDOR_KEY}} if given == "secret" else {}
    environment, args = deployed(documents, secrets, tmp_path)
    async with serving(images, environment, *args, files=tmp_path) as (origin, _):
        await answered(origin, vendor)
        health = await call(f"{origin}/health?detailed=true", key=CALLER_KEY)

    assert json.loads(health.body)["workers"]["of"] == workers


async def test_kustomizes_form_serves(
    images: Images,
    vendor: ScriptedProvider,
    kustomize: Callable[[str], list[Document]],
    tmp_path: Path,
) -> None:
    secrets = {
        "llm-provider-secrets": {"openai-api-key": VENDOR_KEY},
        "llm-gateway-secrets": {"api-keys": CALLER_KEY},
    }
    environment, args = deployed(kustomize("."), secrets, tmp_path)
    environment["LLM_GATEWAY_PROVIDERS__OPENAI__BASE_URL"] = f"{vendor.url}/v1"
    async with serving(images, environment, *args, files=tmp_path) as (origin, _):
        await answered(origin, vendor)


def deployed(
    documents: list[Document], secrets: Mapping[str, Mapping[str, str]], folder: Path
) -> tuple[dict[str, str], list[str]]:
    """What a node would give the container: its variables and arguments; its files in `folder`."""
    known = {**secrets}
    for each in documents:
        if each["kind"] == "Secret":
            data = {k: base64.b64decode(v).decode() for k, v in each.get("data", {}).items()}
            known[each["metadata"]["name"]] = {**data, **each.get("stringData", {})}
    maps = {e["metadata"]["name"]: e["data"] for e in documents if e["kind"] == "ConfigMap"}
    pod = next(e for e in documents if e["kind"] == "Deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    folder.chmod(0o755)  # as a node mounts it
    environment = {}
    for each in container["env"]:
        if "value" in each:
            environment[each["name"]] = each["value"]
            continue
        reference = each["valueFrom"]["secretKeyRef"]
        value = known.get(reference["name"], {}).get(reference["key"])
        assert value is not None or reference["optional"], f"{each['name']} has no value"
        if value is not None:
            environment[each["name"]] = value
    mounted = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    for each in pod["volumes"]:
        if "configMap" in each:
            assert mounted[each["name"]] == "/etc/llm-gateway"
            for name, text in maps[each["configMap"]["name"]].items():
                (folder / name).write_text(text)
    return environment, container["args"]
