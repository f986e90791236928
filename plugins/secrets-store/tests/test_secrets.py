"""Secrets set over a running gateway reach the upstream, and nothing else."""

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit import servers
from llm_gateway_testkit.gateway import API_KEY, Gateway, running_gateway
from llm_gateway_testkit.rawclient import Reply, call
from llm_gateway_testkit.scripted import Answer, Received, ScriptedProvider

ADMIN = "admin-key-0123456789abcdef"
CANARY = "canary-5f0c1d2e3b4a69788796a5b4c3d2e1f0"
NEXT = "canary-second-0a1b2c3d4e5f60718293a4b5c6"
SECONDS = 60.0
SECRETS = "/admin/v1/secrets"
BODY = {"model": "vendor/gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
SIMULATED = {"providers": {"sim": {"kind": "simulated"}}}


def new_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def env(folder: Path, keys: str, **more: str) -> dict[str, str]:
    return {
        "LLM_GATEWAY_DATA_DIR": str(folder),
        "LLM_GATEWAY_ADMIN_KEY": ADMIN,
        "SECRETS_ENCRYPTION_KEY": keys,
        **more,
    }


def vendor(url: str, key: str = "${secret:vendor-key}", **more: Any) -> dict[str, Any]:
    entry = {"kind": "openai", "base_url": f"{url}/v1", "api_key": key, "max_retries": 0, **more}
    return {"providers": {"vendor": entry}}


async def command(*arguments: str, given: str = "", **variables: str) -> tuple[int, str]:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "llm_gateway", *arguments],
        input=given,
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
    )
    return done.returncode, done.stdout + done.stderr


async def secrets(gateway: Gateway, *arguments: str, given: str = "") -> tuple[int, Any]:
    code, text = await command(
        "--json", "-u", gateway.url, "-k", ADMIN, "secrets", *arguments, given=given
    )
    return code, json.loads(text) if text.startswith(("{", "[")) else text


async def chat(gateway: Gateway) -> Reply:
    return await call(f"{gateway.url}/v1/chat/completions", BODY, key=API_KEY)


async def logged(gateway: Gateway, text: str) -> None:
    async with asyncio.timeout(20):
        while True:
            if any(text in line for line in gateway.log_lines()):
                return
            await asyncio.sleep(0.02)


async def kept(folder: Path, keys: str, **values: str) -> list[str]:
    """Keep `values` through a gateway that refers to none; what was shown meanwhile."""
    shown = []
    async with running_gateway(SIMULATED, env(folder, keys)) as gateway:
        for name, value in values.items():
            code, found = await secrets(gateway, "set", name.replace("_", "-"), given=value + "\n")
            assert code == 0, found
            shown.append(str(found))
        shown += [*gateway.log_lines(), str(await secrets(gateway, "list"))]
    return shown


async def test_a_kept_secret_reaches_the_upstream_and_is_seen_nowhere_else(tmp_path: Path) -> None:
    """Commands, logs, answers, errors, metrics, ``config show`` and every file are searched."""
    keys, data = new_key(), tmp_path / "data"
    shown = await kept(data, keys, vendor_key=CANARY)
    async with ScriptedProvider(validator=openai.strict(CANARY)) as provider:
        provider.enqueue(openai.chat_answer("fine"), openai.error_answer(401, f"no key {CANARY}"))
        config = vendor(provider.url, headers={"x-more": "${secret:vendor-key}"})
        file = tmp_path / "gateway.yaml"
        file.write_text(json.dumps(config))
        async with running_gateway(config, env(data, keys)) as gateway:
            answer, refused = await chat(gateway), await chat(gateway)
            for path in ("/health?detailed=true", "/admin/v1/audit", SECRETS, "/openapi.json"):
                reply = await call(f"{gateway.url}{path}", key=ADMIN)
                shown.append(f"{reply.headers} {reply.body!r}")
            shown.append(repr((await call(f"{gateway.metrics_url}/metrics")).body))
            os.kill(gateway.process.pid, signal.SIGHUP)
            await logged(gateway, "reload.done")
            shown += [str(await secrets(gateway, "rotate")), *gateway.log_lines()]
        shown.append(str(await command("config", "show", "-c", str(file), **env(data, keys))))
        shown.append(str(await command("validate", str(file), **env(data, keys))))

    assert answer.status == 200, answer.body
    assert refused.status >= 400
    shown += [repr((reply.headers, reply.body)) for reply in (answer, refused)]
    shown += [repr(each.read_bytes()) for each in data.rglob("*") if each.is_file()]
    assert len([each for each in data.rglob("*") if each.is_file()]) > 3
    assert [each for each in shown if CANARY in each or keys in each] == []


async def test_a_secret_where_it_does_not_fit_is_not_quoted(tmp_path: Path) -> None:
    """A start that is refused over a secret in the wrong place names the key, not the value."""
    file = tmp_path / "gateway.yaml"
    wrong = {
        "server": {"port": "${secret:a}", "host": "${secret:a}"},
        "routing": {"strategy": "${secret:a}", "default_provider": "${secret:a}"},
        "providers": {"sim": {"kind": "simulated", "timeout_seconds": "${secret:a}"}},
        "database": {"url": "${secret:a}://user:${secret:a}@nowhere/x"},
        "security": {"secrets": {"encryption_key": "${secret:a}"}},
    }
    named = {**env(tmp_path / "data", ""), "LLM_GATEWAY_SECRET_A": CANARY}
    told = []
    for config in (wrong, *({key: wrong[key]} for key in wrong)):
        file.write_text(json.dumps({**SIMULATED, **config}))
        code, text = await command("start", "-c", str(file), "-p", "0", **named)
        told.append(text)
        assert code == 78, text

    assert [text for text in told if CANARY in text] == []


async def test_a_secret_that_nobody_knows_refuses_the_start_unless_its_part_is_off(
    tmp_path: Path,
) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(json.dumps(vendor("http://127.0.0.1:9")))
    code, text = await command("start", "-c", str(file), **env(tmp_path, new_key()))
    off = {
        "providers": {
            **vendor("http://127.0.0.1:9", enabled=False)["providers"],
            "sim": {"kind": "simulated"},
        }
    }
    async with running_gateway(off, env(tmp_path, new_key())) as gateway:
        live = await call(f"{gateway.url}/health/live")

    assert code == 78
    assert "providers.vendor.api_key: no source knows the secret vendor-key" in text
    assert live.status == 200


async def test_variables_and_files_come_before_the_store(tmp_path: Path) -> None:
    keys, folder = new_key(), tmp_path / "mounted"
    folder.mkdir()
    (folder / "vendor-key").write_text("from-the-file\n")
    await kept(tmp_path / "data", keys, vendor_key=CANARY)
    section = {"security": {"secrets": {"directory": str(folder)}}}
    async with ScriptedProvider() as provider:
        provider.enqueue(*(openai.chat_answer("fine") for _ in range(2)))
        config = {**vendor(provider.url), **section}
        async with running_gateway(config, env(tmp_path / "data", keys)) as gateway:
            await chat(gateway)
        more = env(tmp_path / "data", keys, LLM_GATEWAY_SECRET_VENDOR_KEY="from-the-variable")
        async with running_gateway(config, more) as gateway:
            await chat(gateway)

    sent = [each.headers["authorization"] for each in provider.received]
    assert sent == ["Bearer from-the-file", "Bearer from-the-variable"]


async def test_a_new_version_is_in_force_after_a_reload_and_the_last_one_can_be_named(
    tmp_path: Path,
) -> None:
    keys = new_key()
    await kept(tmp_path, keys, vendor_key=CANARY)
    async with ScriptedProvider() as provider:
        provider.enqueue(*(openai.chat_answer("fine") for _ in range(3)))
        async with running_gateway(vendor(provider.url), env(tmp_path, keys)) as gateway:
            await chat(gateway)
            assert await secrets(gateway, "set", "vendor-key", given=NEXT) == (
                0,
                {"name": "vendor-key", "version": 2},
            )
            os.kill(gateway.process.pid, signal.SIGHUP)
            await logged(gateway, "reload.done")
            await chat(gateway)
        older = vendor(provider.url, "${secret:vendor-key@1}")
        async with running_gateway(older, env(tmp_path, keys)) as gateway:
            await chat(gateway)

    sent = [each.headers["authorization"] for each in provider.received]
    assert sent == [f"Bearer {each}" for each in (CANARY, NEXT, CANARY)]


async def test_the_master_key_is_replaced_while_requests_go_on(tmp_path: Path) -> None:
    """Both keys open what is there; when nothing is left under the old one, it can go."""
    old, new = new_key(), new_key()
    await kept(tmp_path, old, vendor_key=CANARY)
    async with ScriptedProvider(validator=openai.strict(CANARY)) as provider:
        provider.default = openai.chat_answer("fine")
        async with running_gateway(vendor(provider.url), env(tmp_path, f"{new},{old}")) as gateway:
            replies = await asyncio.gather(*(chat(gateway) for _ in range(20)))
            await logged(gateway, "secrets.rotated count=1 left=0")
        async with running_gateway(vendor(provider.url), env(tmp_path, new)) as gateway:
            replies.append(await chat(gateway))
            _, (row,) = await secrets(gateway, "list")

    assert {reply.status for reply in replies} == {200}
    assert row["current_key"]


async def test_rotation_under_load_drops_nothing(tmp_path: Path) -> None:
    """Two workers serve without a pause while the encryption is renewed, the master key is
    exchanged over a reload, and the secret itself gets new versions. Each request goes out with
    a version that was in force, and in the end with the newest."""
    old, new = new_key(), new_key()
    await kept(tmp_path, old, vendor_key=CANARY)
    versions = [CANARY, *(f"{NEXT}-{number}" for number in range(3))]

    def known(received: Received) -> Answer | None:
        given = received.headers["authorization"].removeprefix("Bearer ")
        return None if given in versions else openai.error_answer(401)

    async with ScriptedProvider(validator=known) as provider:
        provider.default = openai.chat_answer("fine")
        given = env(tmp_path, f"{new},{old}")
        async with running_gateway(vendor(provider.url), given, args=("--workers", "2")) as gateway:
            workers = await gateway.serving(2)
            stopping = asyncio.Event()
            asking = [asyncio.create_task(load(gateway, stopping)) for _ in range(4)]
            done = []
            for value in versions[1:]:
                done.append(await secrets(gateway, "rotate"))
                done.append(await secrets(gateway, "set", "vendor-key", given=value))
                os.kill(gateway.process.pid, signal.SIGHUP)
                await sent_by(provider, value)
                done.append(await secrets(gateway, "rotate", "vendor-key"))
            while any(
                each.headers["authorization"][7:] != value for each in provider.received[-8:]
            ):
                await provider.wait_received(len(provider.received) + 1, SECONDS)
            stopping.set()
            statuses = [status for each in await asyncio.gather(*asking) for status in each]
            same = await gateway.serving(2)
            _, (row,) = await secrets(gateway, "list")
    used = {each.headers["authorization"].removeprefix("Bearer ") for each in provider.received}

    assert [code for code, _ in done] == [0] * len(done), done
    assert set(statuses) == {200}
    assert len(statuses) == len(provider.received) > 20
    assert used == set(versions)
    assert row["current_key"]
    assert same == workers


async def load(gateway: Gateway, stopping: asyncio.Event) -> list[int]:
    """Ask without a pause until told to stop; the statuses."""
    statuses = []
    while not stopping.is_set():
        statuses.append((await chat(gateway)).status)
    return statuses


async def sent_by(provider: ScriptedProvider, value: str) -> None:
    """Wait until a request has come with `value`."""
    async with asyncio.timeout(SECONDS):
        while not any(value in each.headers["authorization"] for each in provider.received[-50:]):
            await provider.wait_received(len(provider.received) + 1, SECONDS)


async def test_a_stolen_data_folder_yields_nothing(tmp_path: Path) -> None:
    """Database, its log, snapshots and spool are copied from under the running gateway: neither
    the value nor a form of it is in any file, and the copy serves nobody without the key."""
    keys, stolen = new_key(), tmp_path / "stolen"
    await kept(tmp_path / "data", keys, vendor_key=CANARY)
    async with ScriptedProvider(validator=openai.strict(CANARY)) as provider:
        provider.default = openai.chat_answer("fine")
        file = tmp_path / "gateway.yaml"
        file.write_text(json.dumps(vendor(provider.url)))
        async with running_gateway(vendor(provider.url), env(tmp_path / "data", keys)) as gateway:
            assert (await chat(gateway)).status == 200
            shutil.copytree(tmp_path / "data", stolen)
        starts = [
            await command("start", "-c", str(file), "-p", "0", **env(stolen, key))
            for key in ("", new_key())
        ]
        asked = len(provider.received)
    value = CANARY.encode()
    forms = (value, base64.b64encode(value).rstrip(b"="), value.hex().encode(), value[::-1])
    read = {each.name: each.read_bytes() for each in stolen.rglob("*") if each.is_file()}

    assert any("gateway.db" in name for name in read)
    assert [name for name, data in read.items() if any(form in data for form in forms)] == []
    assert [name for name, data in read.items() if keys.encode() in data] == []
    assert [code for code, _ in starts] == [78, 78]
    assert [text for _, text in starts if CANARY in text] == []
    assert asked == 1


async def test_without_its_master_key_a_store_yields_nothing_and_loses_nothing(
    tmp_path: Path,
) -> None:
    lost = new_key()
    await kept(tmp_path, lost, vendor_key=CANARY)
    file = tmp_path / "gateway.yaml"
    file.write_text(json.dumps(vendor("http://127.0.0.1:9")))
    code, text = await command("start", "-c", str(file), **env(tmp_path, new_key()))
    async with running_gateway(SIMULATED, env(tmp_path, new_key())) as gateway:
        rotated = await secrets(gateway, "rotate")
    async with running_gateway(SIMULATED, env(tmp_path, lost)) as gateway:
        again = await secrets(gateway, "rotate")

    assert code == 78
    assert "encrypted with the master key" in text
    assert rotated == (1, {"rotated": 0, "left": 1, "unreadable": ["vendor-key@1"]})
    assert again == (0, {"rotated": 1, "left": 0, "unreadable": []})


async def test_what_is_asked_wrongly_is_refused_without_being_quoted(tmp_path: Path) -> None:
    async with running_gateway(SIMULATED, env(tmp_path, new_key())) as gateway:
        url = f"{gateway.url}{SECRETS}"
        bodies: list[Any] = [
            {"value": 5},
            {"values": CANARY},
            {"value": ""},
            f'{{"value": "{CANARY}'.encode(),
        ]
        wrong = [await call(f"{url}/a", body, key=ADMIN, method="PUT") for body in bodies]
        named = await call(f"{url}/a%20b", {"value": CANARY}, key=ADMIN, method="PUT")
        user = await call(f"{url}/a", {"value": CANARY}, key=API_KEY, method="PUT")
        absent = await secrets(gateway, "delete", "a", "--force")
        rows = (await call(url, key=ADMIN)).json["rows"]

    assert [reply.status for reply in [*wrong, named]] == [400] * 5
    assert user.status == 403
    assert absent[0] == 1
    assert "There is no secret a" in str(absent[1])
    assert rows == []
    assert CANARY not in "".join(repr(reply.body) for reply in wrong)
    assert CANARY not in "\n".join(gateway.log_lines())


async def test_what_is_done_is_on_record(tmp_path: Path) -> None:
    async with running_gateway(SIMULATED, env(tmp_path, new_key())) as gateway:
        await secrets(gateway, "set", "a", given=CANARY)
        await secrets(gateway, "rotate", "a")
        await secrets(gateway, "delete", "a", "--force")
    lines = (tmp_path / "audit" / "audit.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]

    found = [
        (each["kind"], each["content"]["subject"])
        for each in events
        if each["kind"].startswith("secret.")
    ]
    assert found == [("secret.set", "a"), ("secret.rotated", "a"), ("secret.deleted", "a")]
    assert CANARY not in "".join(lines)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_first_start_on_an_empty_database_says_what_to_do(
    kind: str, tmp_path: Path
) -> None:
    """And what it says leads to a gateway that serves with the kept secret."""
    keys, data = new_key(), tmp_path / "data"
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(servers.postgres()).url if kind == "postgresql" else ""
        given = {**env(data, keys), **({"DATABASE_URL": url} if url else {})}
        async with ScriptedProvider(validator=openai.strict(CANARY)) as provider:
            provider.default = openai.chat_answer("fine")
            config = vendor(provider.url)
            path = tmp_path / "config.yaml"
            path.write_text(json.dumps(config))
            code, refused = await command("start", "-c", str(path), **given)
            migrated, plan = await command("migrate", "run", "-c", str(path), **given)
            async with running_gateway(SIMULATED, given) as gateway:
                set_code, _ = await secrets(gateway, "set", "vendor-key", given=CANARY + "\n")
            async with running_gateway(config, given) as gateway:
                answer = await chat(gateway)

    assert code == 78
    for words in ("vendor-key", "migrate run", "secrets set", "providers.vendor.api_key"):
        assert words in refused
    assert "cannot be used" not in refused
    assert (migrated, set_code, answer.status) == (0, 0, 200), plan
