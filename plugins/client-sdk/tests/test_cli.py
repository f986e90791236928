"""The commands against a server on loopback."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result
from llm_gateway_sdk import cli, commands

KEY = "gw-local-0123456789"
MODELS = [
    {"id": "gpt-4o", "owned_by": "openai", "context_window": 128000, "capabilities": ["chat"]},
    {"id": "claude", "owned_by": "anthropic"},
]


class Gateway(BaseHTTPRequestHandler):
    """Answers as the gateway does; wants `KEY` for all but health."""

    def do_GET(self) -> None:
        if self.path.startswith("/health"):
            sick = "detailed" in self.path
            parts = {"status": "unhealthy", "providers": {"openai": {"status": "down"}}}
            self.answer(503 if sick else 200, parts if sick else {"status": "healthy"})
        elif self.known():
            self.answer(200, {"data": MODELS})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not self.known():
            return
        said = f"{asked['model']}: {asked['messages'][-1]['content']} {asked['temperature']}"
        if not asked.get("stream"):
            choice = {"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
            self.answer(200, {"model": asked["model"], "choices": [choice]})
            return
        body = b""
        for word in said.split(" "):
            delta = {"choices": [{"index": 0, "delta": {"content": word + " "}}]}
            body += b"data: " + json.dumps(delta).encode() + b"\n\n"
        self.send(200, "text/event-stream", body + b"data: [DONE]\n\n" * (said[0] != "c"))

    def known(self) -> bool:
        if self.headers.get("authorization") == f"Bearer {KEY}":
            return True
        unsigned = self.headers.get("authorization") == "Bearer unsigned"
        code = "invalid_signature" if unsigned else "invalid_api_key"
        self.answer(401, {"error": {"message": "No.", "code": code}})
        return False

    def answer(self, status: int, document: object) -> None:
        self.send(status, "application/json", json.dumps(document).encode())

    def send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def empty_data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLM_GATEWAY_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("LLM_GATEWAY_API_KEY", raising=False)
    return tmp_path


def run(url: str, *args: str, key: str | None = KEY, as_json: bool = False) -> Result:
    command = {"health": cli.health, "models": cli.models, "chat": cli.chat}[args[0]]
    state = SimpleNamespace(url=url, api_key=key, json=as_json, verbose=0)
    return CliRunner().invoke(command, list(args[1:]), obj=state)


def test_health(url: str) -> None:
    """Well is 0, not well is 1, and detailed names the parts."""
    well, sick = run(url, "health"), run(url, "health", "--detailed")

    assert (well.exit_code, well.output) == (0, "The gateway is well (healthy).\n")
    assert sick.exit_code == 1 and "openai" in sick.output and "down" in sick.output


def test_models(url: str) -> None:
    """A table for people, JSON for programs, filtered by provider."""
    table = run(url, "models", "--capabilities")
    data = run(url, "models", "-p", "anthropic", as_json=True)
    nothing = run(url, "models", "--provider", "nobody")

    assert table.exit_code == 0 and "128,000" in table.output and "chat" in table.output
    assert [each["id"] for each in json.loads(data.output)] == ["claude"]
    assert nothing.exit_code == 1 and "nobody" in nothing.output


def test_chat(url: str) -> None:
    """Flags and defaults reach the gateway; a stream shows the same text."""
    plain = run(url, "chat", "Hi")
    flags = ("-m", "x", "-s", "Be brief", "--max-tokens", "5", "--temperature", "0")
    streamed = run(url, "chat", "Hi", "--stream", *flags)
    data = run(url, "chat", "Hi", as_json=True)

    assert (plain.exit_code, plain.output) == (0, "gpt-4o: Hi 0.7\n")
    assert streamed.exit_code == 0 and streamed.output.split() == ["x:", "Hi", "0.0"]
    assert json.loads(data.output)["choices"][0]["message"]["content"] == "gpt-4o: Hi 0.7"


def test_chat_cut(url: str) -> None:
    """A stream that was cut is bad news, after what has come."""
    cut = run(url, "chat", "Hi", "--stream", "-m", "cut")

    assert cut.exit_code == 1
    assert "cut: Hi" in cut.stdout and "not complete" in cut.stderr


def test_key(url: str, empty_data_dir: Path) -> None:
    """Without a key the message says where to put one; the local file stands in."""
    missing = run(url, "chat", "Hi", key=None)
    wrong = run(url, "chat", "Hi", key="wrong", as_json=True)
    (empty_data_dir / "api-key").write_text(KEY + "\n")
    local = run(url, "chat", "Hi", key=None)

    assert missing.exit_code == 1 and "LLM_GATEWAY_API_KEY" in missing.stderr
    unsigned = run(url, "chat", "Hi", key="unsigned")
    assert unsigned.exit_code == 1 and "LLM_GATEWAY_SIGNING_SECRET" in unsigned.stderr
    assert wrong.exit_code == 1
    assert json.loads(wrong.stdout)["error"]["code"] == "invalid_api_key"
    assert local.exit_code == 0


def test_local_key_stays_here(empty_data_dir: Path) -> None:
    """The local key is sent to no other host."""
    from llm_gateway_sdk.local import local_key

    (empty_data_dir / "api-key").write_text(KEY)

    assert local_key("http://[::1]:8080") == local_key("http://localhost:1") == KEY
    assert local_key("https://gateway.example.com") is None
    assert local_key("http://localhost.example.com") is None


def test_unreachable() -> None:
    """Nobody there: one sentence with the mend, exit code 1; a bad address is wrong usage."""
    gone = run("http://127.0.0.1:9", "models")

    assert gone.exit_code == 1 and "llm-gateway start" in gone.stderr
    assert "refused" in gone.stderr
    assert run("127.0.0.1:9", "models").exit_code == 2


def test_proxy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway on this machine is asked directly, whatever proxy the environment names."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    assert run(url, "health").exit_code == 0


def test_commands_load_nothing() -> None:
    """Declaring commands imports neither an HTTP client nor click."""
    code = (
        "import sys, llm_gateway_sdk.commands as c; c.llm_gateway_commands();"
        "print([n for n in ('httpx', 'click', 'rich', 'pydantic') if n in sys.modules])"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def test_declared() -> None:
    """Each command names a click command of the module."""
    for spec in commands.llm_gateway_commands():
        module, _, name = spec.load.partition(":")
        assert module == cli.__name__ and getattr(cli, name).name == spec.name
