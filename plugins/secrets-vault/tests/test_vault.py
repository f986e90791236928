"""Against a Vault that refuses what Vault refuses: wrong tokens, namespaces, paths, methods."""

import asyncio
import base64
import json
import os
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from llm_gateway_api import ConfigurationError, Metrics
from llm_gateway_secrets_vault import plugin
from llm_gateway_secrets_vault.client import VaultError
from llm_gateway_secrets_vault.renewing import Renewing
from llm_gateway_secrets_vault.settings import VaultSettings
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import ScriptedProvider
from pydantic import ValidationError

CANARY, NEXT = "canary-from-vault-1", "canary-from-vault-2"
TOKEN = "hvs.root-canary-token"
KEY = base64.b64encode(bytes(range(32))).decode()
DENIED = (403, {"errors": ["permission denied"]})


@dataclass
class Vault:
    """What a Vault server holds. `secrets` by path: versions, None where one was deleted."""

    secrets: dict[str, list[dict[str, str] | None]] = field(default_factory=dict)
    namespace: str = ""
    tokens: dict[str, dict[str, Any]] = field(default_factory=lambda: {TOKEN: {"ttl": 0}})
    secret_ids: dict[str, int] = field(default_factory=lambda: {"sid-canary": 99})
    sealed: bool = False
    frozen: threading.Event | None = None
    standby_of: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    def answer(
        self, method: str, target: str, headers: Any, body: bytes
    ) -> tuple[int, dict[str, Any]]:
        parts = urlsplit(target)
        path = parts.path.removeprefix("/v1/")
        self.asked.append((method, path))
        if self.sealed:
            return 503, {"errors": ["Vault is sealed"]}
        if headers.get("X-Vault-Namespace", "") != self.namespace:
            return 404, {"errors": [f'no handler for route "{path}". route entry not found.']}
        if path.startswith("auth/") and path.endswith("/login"):
            return self._login(method, path, body)
        token = self.tokens.get(headers.get("X-Vault-Token", ""))
        if token is None:
            return DENIED
        if path.startswith("auth/token/"):
            return self._token(method, path, headers["X-Vault-Token"], token)
        if method != "GET":
            return 405, {"errors": ["unsupported operation"]}
        return self._secret(path, parse_qs(parts.query))

    def _login(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        given = json.loads(body)
        if method not in ("POST", "PUT"):
            return 405, {"errors": ["unsupported operation"]}
        if path == "auth/approle/login":
            if given.get("role_id") != "role-1" or not self.secret_ids.get(given.get("secret_id")):
                return 400, {"errors": ["invalid role or secret ID"]}
            self.secret_ids[given["secret_id"]] -= 1
        elif path == "auth/kube/login":
            if given.get("role") != "gateway":
                return 400, {"errors": ['invalid role name "' + str(given.get("role")) + '"']}
            if given.get("jwt") != "jwt-canary":
                return DENIED
        else:
            return DENIED
        name = f"hvs.lent-{len(self.asked)}"
        self.tokens[name] = {"ttl": 60}
        return 200, {"auth": {"client_token": name, "lease_duration": 60, "renewable": True}}

    def _token(
        self, method: str, path: str, name: str, token: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        verb = path.rpartition("/")[2]
        if (verb == "lookup-self") != (method == "GET"):
            return 405, {"errors": ["unsupported operation"]}
        if verb == "revoke-self":
            del self.tokens[name]
            return 204, {}
        if verb == "renew-self":
            if not token.get("renewable"):
                return 400, {"errors": ["lease is not renewable"]}
            token["ttl"] = token["creation_ttl"]
            return 200, {"auth": {"client_token": name, "lease_duration": token["ttl"]}}
        return 200, {"data": {"id": name, "creation_ttl": 0, "renewable": False, **token}}

    def _secret(self, path: str, query: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        mount, _, rest = path.partition("/data/")
        if mount != "kv/team" or not rest:
            if path.startswith("kv/team/"):
                warning = "Invalid path for a versioned K/V secrets engine."
                return 404, {"errors": [], "warnings": [warning]}
            return DENIED
        versions = self.secrets.get(rest)
        if versions is None:
            return 404, {"errors": []}
        number = int(query.get("version", ["0"])[0]) or len(versions)
        if number > len(versions):
            return 404, {"errors": []}
        data = versions[number - 1]
        document = {"data": {"data": data, "metadata": {"version": number}}}
        return (200 if data is not None else 404), document


@contextmanager
def serving(vault: Vault, tls: ssl.SSLContext | None = None) -> Iterator[Vault]:
    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if vault.frozen is not None:
                vault.frozen.wait(30)
            if vault.standby_of:
                self.send_response(307)
                self.send_header("location", vault.standby_of + self.path)
                self.send_header("content-length", "0")
                self.end_headers()
                return
            status, document = vault.answer(self.command, self.path, self.headers, body)
            data = json.dumps(document).encode() if status != 204 else b""
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = _any

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    vault.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    try:
        yield vault
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def vault() -> Iterator[Vault]:
    with serving(Vault({"llm-gateway/openai-key": [{"value": CANARY}]})) as made:
        yield made


def settings(vault: Vault, **more: Any) -> VaultSettings:
    given = {"address": vault.url, "mount": "kv/team", "token": TOKEN, **more}
    return VaultSettings.model_validate(given)


def read(folder: Path, given: VaultSettings, *names: str) -> dict[str, str]:
    found = plugin.source(given, folder, time.monotonic).read(names)
    return {name: value.get_secret_value() for name, value in found.items()}


def test_versions_fields_and_other_paths(vault: Vault, tmp_path: Path) -> None:
    vault.secrets |= {
        "llm-gateway/two": [{"value": "old"}, {"value": "new"}],
        "llm-gateway/gone": [{"value": "x"}, None],
        "shared/db": [{"user": "u", "pass word": "p"}],
    }
    given = settings(vault, paths={"database": "shared/db#pass word"})
    names = ("openai-key", "two", "two@1", "two@9", "gone", "gone@1", "database", "nobody")

    assert read(tmp_path, given, *names) == {
        "openai-key": CANARY,
        "two": "new",
        "two@1": "old",
        "gone@1": "x",
        "database": "p",
    }


def test_approle_lends_a_token_and_gives_it_back(vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "sid").write_text("sid-canary\n")
    given = settings(
        vault, token=None, auth="approle", role_id="role-1", secret_id_file=str(tmp_path / "sid")
    )

    assert read(tmp_path, given, "openai-key") == {"openai-key": CANARY}
    assert set(vault.tokens) == {TOKEN}
    assert vault.secret_ids == {"sid-canary": 98}


def test_kubernetes_proves_itself_with_its_service_account(vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "jwt").write_text("jwt-canary")
    given = settings(
        vault,
        token=None,
        auth="kubernetes",
        auth_mount="kube",
        role="gateway",
        jwt_file=str(tmp_path / "jwt"),
    )

    assert read(tmp_path, given, "openai-key") == {"openai-key": CANARY}
    assert set(vault.tokens) == {TOKEN}


def test_a_namespace_is_named(vault: Vault, tmp_path: Path) -> None:
    vault.namespace = "team-a"

    assert read(tmp_path, settings(vault, namespace="team-a"), "openai-key")
    assert read(tmp_path, settings(vault), "openai-key") == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"token": "hvs.wrong-canary"}, "403 permission denied"),
        ({"mount": "kv"}, "403 permission denied"),
        (
            {"token": None, "auth": "approle", "role_id": "role-1", "secret_id": "wrong-canary"},
            "400 invalid role or secret ID",
        ),
        ({"field": "absent"}, "no text in its field 'absent' (fields: value)"),
        ({"paths": {"openai-key": "../../sys/seal-status"}}, "has no path"),
    ],
)
def test_what_vault_refuses_is_told_without_a_secret(
    vault: Vault, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    """And no copy stands in for it: a refusal is an answer."""
    read(tmp_path, settings(vault, snapshot_key=KEY), "openai-key")
    with pytest.raises(VaultError) as raised:
        read(tmp_path, settings(vault, snapshot_key=KEY, **change), "openai-key")

    assert reason in str(raised.value)
    assert "canary" not in str(raised.value)


def test_a_standby_sends_on_and_a_sealed_one_is_tried_again(vault: Vault, tmp_path: Path) -> None:
    with serving(Vault(standby_of=vault.url)) as standby:
        assert read(tmp_path, settings(standby), "openai-key") == {"openai-key": CANARY}
    odd = Vault(standby_of=vault.url.replace("http:", "https:"))
    with serving(odd), pytest.raises(VaultError, match="from its scheme to another"):
        read(tmp_path, settings(odd), "openai-key")
    vault.sealed = True
    before = len(vault.asked)
    with pytest.raises(VaultError, match="503 Vault is sealed"):
        read(tmp_path, settings(vault), "openai-key")

    assert len(vault.asked) - before == 3


def test_a_vault_that_is_gone_is_bridged_by_a_copy_of_its_own(tmp_path: Path) -> None:
    with serving(Vault({"llm-gateway/a": [{"value": CANARY}]})) as vault:
        given = settings(vault, snapshot_key=KEY)
        read(tmp_path, given, "a")

    assert read(tmp_path, given, "a") == {"a": CANARY}
    with pytest.raises(VaultError, match="cannot be reached"):
        read(tmp_path, settings(vault, snapshot_key=KEY, prefix="other"), "a")


@pytest.mark.parametrize("how", ["sealed", "frozen"])
def test_a_bad_day_is_bridged_by_the_encrypted_copy(vault: Vault, tmp_path: Path, how: str) -> None:
    given = settings(vault, snapshot_key=KEY, timeout_seconds=0.3)
    read(tmp_path, given, "openai-key")
    vault.sealed = how == "sealed"
    vault.frozen = threading.Event() if how == "frozen" else None
    try:
        kept = read(tmp_path, given, "openai-key", "other")
        with pytest.raises(VaultError):
            read(tmp_path, settings(vault, timeout_seconds=0.3), "openai-key")
        other = base64.b64encode(bytes(32)).decode()
        with pytest.raises(VaultError):
            read(tmp_path, settings(vault, snapshot_key=other, timeout_seconds=0.3), "openai-key")
    finally:
        if vault.frozen is not None:
            vault.frozen.set()

    assert kept == {"openai-key": CANARY}
    (file,) = tmp_path.iterdir()
    assert CANARY.encode() not in file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600


def test_tls_is_verified(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key),
         "-out", str(cert)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with serving(Vault({"llm-gateway/a": [{"value": "b"}]}), context) as made:
        good = read(tmp_path, settings(made, ca_file=str(cert)), "a")
        with pytest.raises(VaultError, match="certificate verify failed"):
            read(tmp_path, settings(made), "a")
        with pytest.raises(ConfigurationError, match="ca_file"):
            read(tmp_path, settings(made, ca_file=str(tmp_path / "none")), "a")

    assert good == {"a": "b"}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "token or token_file"),
        ({"auth": "approle", "role_id": "r"}, "secret_id or secret_id_file"),
        ({"auth": "approle", "secret_id": "canary"}, "role_id"),
        ({"auth": "kubernetes"}, "needs role"),
    ],
)
def test_what_cannot_work_is_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason) as raised:
        VaultSettings.model_validate({"address": "http://vault:8200", **given})

    assert "canary" not in str(raised.value)


def test_a_copys_key_that_is_none_is_refused_without_being_shown(
    vault: Vault, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="snapshot_key is not 32 bytes") as raised:
        read(tmp_path, settings(vault, snapshot_key="canary"), "a")

    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("token", "waits", "left"),
    [
        ({"ttl": 0}, None, 0),
        ({"ttl": 50, "creation_ttl": 100, "renewable": False}, None, 50),
        ({"ttl": 80, "creation_ttl": 100, "renewable": True}, 40, 80),
        ({"ttl": 40, "creation_ttl": 100, "renewable": True}, 50, 100),
    ],
)
def test_a_token_is_renewed_when_half_of_it_is_left(
    vault: Vault, token: dict[str, Any], waits: float | None, left: int
) -> None:
    vault.tokens[TOKEN] = token
    renewing = Renewing(settings(vault), time.monotonic, Metrics())

    assert renewing.renew() == waits
    assert vault.tokens[TOKEN]["ttl"] == left


async def test_a_renewal_that_fails_is_tried_again(vault: Vault) -> None:
    vault.tokens[TOKEN] = {"ttl": 4, "creation_ttl": 100, "renewable": True}
    vault.sealed = True
    metrics = Metrics()
    async with Renewing(settings(vault), time.monotonic, metrics, 0.01).open():
        await until(lambda: len(vault.asked) > 3)
        vault.sealed = False
        await until(lambda: vault.tokens[TOKEN]["ttl"] == 100)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - in another thread
            await asyncio.sleep(0.01)


async def test_a_gateway_gets_its_vendors_key_and_shows_it_nowhere(vault: Vault) -> None:
    """At the start, and again with a reload after the secret was changed; a reload while Vault
    is sealed changes nothing."""
    async with ScriptedProvider() as provider:
        provider.enqueue(*(openai.chat_answer("fine") for _ in range(3)))
        up = {"kind": "openai", "base_url": f"{provider.url}/v1", "api_key": "${secret:openai-key}"}
        own = {"address": vault.url, "mount": "kv/team", "token": "${secret:vault-token}"}
        config = {"providers": {"up": up}, "plugins": {"secrets_vault": own}}
        async with running_gateway(config, {"LLM_GATEWAY_SECRET_VAULT_TOKEN": TOKEN}) as gateway:
            replies = [await ask(gateway)]
            vault.secrets["llm-gateway/openai-key"].append({"value": NEXT})
            await reloaded(gateway, "reload.done")
            replies.append(await ask(gateway))
            vault.sealed = True
            await reloaded(gateway, "reload.refused")
            replies.append(await ask(gateway))
    sent = [each.headers["authorization"] for each in provider.received]
    text = "\n".join(gateway.log_lines())

    assert [each.status for each in replies] == [200, 200, 200]
    assert sent == [f"Bearer {CANARY}", f"Bearer {NEXT}", f"Bearer {NEXT}"]
    assert "Vault is sealed" in text
    for secret in (CANARY, NEXT, TOKEN):
        assert secret not in text


async def ask(gateway: Gateway) -> Any:
    body = {"model": "up/m", "messages": [{"role": "user", "content": "hi"}]}
    return await call(f"{gateway.url}/v1/chat/completions", body, key=gateway.api_key)


async def reloaded(gateway: Gateway, said: str) -> None:
    os.kill(gateway.process.pid, signal.SIGHUP)
    await until(lambda: any(said in each for each in gateway.log_lines()))
