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
from llm_gateway_testkit import anthropic_dialect as anthropic
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import free_ports
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import Answer, ScriptedProvider

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
REPOSITORY = Path(__file__).parents[2]
VENDOR_KEY = "sk-vendor-0123456789"
CALLER_KEY = "caller-key-0123456789abcdef"
ASKS = [{"role": "user", "content": "When is low tide?"}]
DATA = "/var/lib/llm-gateway"
MOUNTS = {"files": "/etc/llm-gateway", "secrets": "/run/secrets"}
EVERYBODYS = {"/tmp", "/var/tmp", "/run/lock"}  # Debian's own; nothing of the image is in them
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Vendor:
    """A scripted vendor that wants its key, and what the gateway calls it and its key."""

    server: ScriptedProvider
    name: str
    model: str
    base: str

    @property
    def variable(self) -> str:
        return f"{self.name.upper()}_API_KEY"

    @property
    def entry(self) -> str:
        return f"{self.name}-api-key"

    @property
    def at(self) -> dict[str, str]:
        """The variable that sends its provider here."""
        return {f"LLM_GATEWAY_PROVIDERS__{self.name.upper()}__BASE_URL": self.base}


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
    images: Images, environment: Mapping[str, str], *args: str, **files: Path
) -> AsyncIterator[tuple[str, str]]:
    """A container of the image; its origin, and its name for `buildah`. `files` are folders to
    mount, by the key of `MOUNTS`."""
    main, metrics = free_ports(2)
    container = images("from", "llm-gateway")
    given = {
        **environment,
        "SERVER_HOST": "127.0.0.1",
        "SERVER_PORT": str(main),
        "METRICS_PORT": str(metrics),
    }
    flags = [each for name, value in given.items() for each in ("--env", f"{name}={value}")]
    for name, folder in files.items():
        flags += ["--volume", f"{folder}:{MOUNTS[name]}:ro"]
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


async def answered(origin: str, vendor: Vendor) -> None:
    """One request by way of the vendor, which wants its key."""
    body = {"model": vendor.model, "max_tokens": 64, "messages": ASKS}
    answer = await call(f"{origin}/v1/chat/completions", body, key=CALLER_KEY)
    assert answer.status == 200, answer.body
    chats = [each for each in vendor.server.received if each.method == "POST"]
    assert len(chats) == 1


@pytest.fixture(params=["openai", "anthropic"])
async def vendor(request: pytest.FixtureRequest) -> AsyncIterator[Vendor]:
    strict = {"openai": openai.strict, "anthropic": anthropic.strict}[request.param]
    async with ScriptedProvider(validator=strict(VENDOR_KEY)) as server:
        server.probe = Answer(body=b'{"object": "list", "data": []}')
        if request.param == "openai":
            server.default = openai.chat_answer()
            yield Vendor(server, "openai", "gpt-4o", f"{server.url}/v1")
        else:
            server.default = anthropic.message_answer(anthropic.text("At noon."))
            yield Vendor(server, "anthropic", "claude-sonnet-4-5", server.url)


async def test_the_image_serves_by_its_environment_alone(images: Images, vendor: Vendor) -> None:
    """As UID 1000, which may write to the data directory and to nothing else of the image."""
    environment = {vendor.variable: VENDOR_KEY, "LLM_GATEWAY_API_KEYS": CALLER_KEY, **vendor.at}
    async with serving(images, environment, "start") as (origin, container):
        await answered(origin, vendor)
        user = images("run", container, "--", "id", "-u")
        places = "! -type l ! -path '/proc/*' ! -path '/dev/*' ! -path '/sys/*'"
        found = f"find / -xdev -writable {places} 2>/dev/null; true"
        writable = set(images("run", container, "--", "sh", "-c", found).splitlines())
        tools = images("run", container, "--", "sh", "-c", "which gcc pip uv; true")
        body = {"model": vendor.model, "messages": ASKS}
        wrong = await call(f"{origin}/v1/chat/completions", body, key="another")

    assert user == "1000"
    assert {each for each in writable if not each.startswith(DATA)} <= EVERYBODYS
    assert tools == ""
    assert wrong.status == 401


@pytest.mark.parametrize("given", ["variable", "mounted secret"])
async def test_the_image_serves_with_a_file(
    given: str, images: Images, vendor: Vendor, tmp_path: Path
) -> None:
    """Whose key is a variable's, or a secret that Docker mounts as a file."""
    entry = vendor.entry if given == "mounted secret" else ""
    key = f"${{secret:{entry}}}" if entry else f"${{{vendor.variable}}}"
    folder, secrets = tmp_path / "etc", tmp_path / "secrets"
    folder.mkdir()
    secrets.mkdir()
    (folder / "config.yaml").write_text(
        f"providers: {{{vendor.name}: {{api_key: '{key}', base_url: '{vendor.base}'}}}}\n"
        "security: {auth: {api_keys: ['${secret:caller}']}}\n"
    )
    (secrets / "caller").write_text(f"{CALLER_KEY}\n")
    environment = {} if entry else {vendor.variable: VENDOR_KEY}
    if entry:
        (secrets / entry).write_text(f"{VENDOR_KEY}\n")
    tmp_path.chmod(0o755)
    args = ("start", "--config", "/etc/llm-gateway/config.yaml")
    async with serving(images, environment, *args, files=folder, secrets=secrets) as (origin, _):
        await answered(origin, vendor)


@pytest.mark.parametrize(("given", "workers"), [("values", 1), ("secret", 1), ("secret", 3)])
async def test_helms_form_serves(
    given: str,
    workers: int,
    images: Images,
    vendor: Vendor,
    render: Callable[..., list[Document]],
    tmp_path: Path,
) -> None:
    """With the key among the values, and with the Secret made beside the chart; by as many
    processes as it was told."""
    provider = {"base_url": vendor.base}
    if given == "values":
        provider["apiKey"] = VENDOR_KEY
    values: Document = {"providers": {vendor.name: provider}, "workers": workers}
    values["secrets"] = {"apiKeys": CALLER_KEY}
    secrets = {"llm-provider-secrets": {vendor.entry: VENDOR_KEY}} if given == "secret" else {}
    environment, args = deployed(render(values), secrets, tmp_path)
    async with serving(images, environment, *args, files=tmp_path) as (origin, _):
        await answered(origin, vendor)
        health = await call(f"{origin}/health?detailed=true", key=CALLER_KEY)

    assert json.loads(health.body)["workers"]["of"] == workers


async def test_helms_flag_serves(
    images: Images,
    vendor: Vendor,
    helm: Any,
    render: Callable[..., list[Document]],
    tmp_path: Path,
) -> None:
    """`--set providers.NAME.apiKey=…` alone: whose key is there is served, nothing is listed."""
    flags = f"providers.{vendor.name}.apiKey={VENDOR_KEY},secrets.apiKeys={CALLER_KEY}"
    environment, args = deployed(render(helm.parse_set_string(flags)), {}, tmp_path)
    async with serving(images, environment | vendor.at, *args, files=tmp_path) as (origin, _):
        await answered(origin, vendor)


async def test_kustomizes_form_serves(
    images: Images,
    vendor: Vendor,
    kustomize: Callable[[str], list[Document]],
    tmp_path: Path,
) -> None:
    secrets = {
        "llm-provider-secrets": {vendor.entry: VENDOR_KEY},
        "llm-gateway-secrets": {"api-keys": CALLER_KEY},
    }
    environment, args = deployed(kustomize("."), secrets, tmp_path)
    async with serving(images, environment | vendor.at, *args, files=tmp_path) as (origin, _):
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
