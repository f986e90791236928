"""The conformance checks pass what is right and catch what is wrong."""

import asyncio
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_testkit import cases, conformance, plugins

HERE = Path(__file__).parent
DATA = b'{"say": "a"}\n{"say": "b"}\n"end"\n'


def acme() -> Any:
    spec = importlib.util.spec_from_file_location("acme", HERE / "acme.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LineDecoder: Any = acme().LineDecoder


class Forgetful(LineDecoder):  # type: ignore[misc]  # made at run time
    """Takes each piece for whole lines."""

    def feed(self, data: bytes) -> list[gw.Event]:
        return [event for line in data.split(b"\n") if line for event in self._line(line)]


class Trusting(LineDecoder):  # type: ignore[misc]  # made at run time
    """Takes any end for the end."""

    def finish(self) -> list[gw.Event]:
        return [] if self._ended else [gw.Finished("stop")]


class Fragile(LineDecoder):  # type: ignore[misc]  # made at run time
    """Lets the JSON parser's exception out."""

    def _line(self, line: bytes) -> list[gw.Event]:
        value = json.loads(line)
        self._ended = value == "end"
        return [gw.Finished("stop") if self._ended else gw.TextDelta(value["say"])]


def test_right_decoder_passes() -> None:
    """A decoder that keeps to its contract passes every check."""
    conformance.check_decoder(LineDecoder, DATA)


@pytest.mark.parametrize(
    ("check", "decoder", "text"),
    [
        (conformance.check_truncation, Trusting, "passed for whole"),
        (conformance.check_garbage, Fragile, "JSONDecodeError"),
        (conformance.check_garbage, Trusting, "passed for an answer"),
    ],
)
def test_wrong_decoder_is_caught(check: Any, decoder: Any, text: str) -> None:
    """Each kind of fault is named."""
    with pytest.raises(AssertionError, match=text):
        check(decoder, DATA)


def test_decoder_that_minds_the_cut_is_caught() -> None:
    """A decoder without a memory fails at the first cut inside a line."""
    with pytest.raises((AssertionError, gw.UpstreamError)):
        conformance.check_any_cut(Forgetful, DATA)


@pytest.mark.parametrize("raw", [{"events": [], "failure": "connect"}, {}, {"evnts": []}])
def test_case_is_checked(raw: dict[str, Any]) -> None:
    """A case with a typo, or without an outcome, is refused."""
    with pytest.raises(ValueError, match=r"unknown members|either events or a failure"):
        cases.case(raw)


def test_events_round_trip() -> None:
    """An event that is written is read back as it was."""
    event = gw.ToolCallDelta(1, "call_1", "tide", '{"a"')

    assert cases.event(cases.written(event)) == event


def test_wrong_upstream_body_is_caught() -> None:
    """The upstream body is compared whole."""
    spec = plugins.kinds(acme())["acme"]
    case = cases.load(HERE / "cases")[0]
    wrong = {**case.upstream, "body": {"model": "m-1", "turns": [True]}}

    with pytest.raises(AssertionError, match="upstream body"):
        conformance.check_upstream(
            plugins.make(spec, case.settings),
            cases.case(
                {
                    "name": "x",
                    "kind": "acme",
                    "request": {"type": "chat", "model": "m-1", "messages": [MESSAGE]},
                    "upstream": wrong,
                    "reply": {},
                    "events": [],
                }
            ),
        )


MESSAGE = {"role": "user", "parts": [{"type": "text", "text": "Hi"}]}


async def suites(folder: Path) -> tuple[int | None, str]:
    """The exit code and the output of the suites on the cases in `folder`."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["--llm-gateway-plugin", "acme", "--llm-gateway-cases", str(folder)]
    process = await asyncio.create_subprocess_exec(
        *(*command, "--rootdir", str(HERE), "-c", os.devnull, str(folder)),
        env={**os.environ, "PYTHONPATH": str(HERE)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_option_runs_the_suites() -> None:
    """``--llm-gateway-plugin`` needs no test file of the author's."""
    code, output = await suites(HERE / "cases")

    assert code == 0, output
    assert "proven" in output and "failed" not in output, output


async def test_a_case_of_a_kind_that_nobody_brings_is_an_error(tmp_path: Path) -> None:
    """It would not be run, and nobody would know."""
    text = (HERE / "cases" / "acme.json").read_text()
    (tmp_path / "acme.json").write_text(text.replace('"kind": "acme"', '"kind": "acmee"', 1))

    code, output = await suites(tmp_path)

    assert code != 0
    assert "cases of the kind acmee, which no installed plugin brings" in " ".join(output.split())


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"type": "TextDelta"', '"type": "TextDleta"', "no event is called 'TextDleta'"),
        ('"parts"', '"prats": [], "parts"', "request.messages[0].prats"),
    ],
)
def test_a_fault_of_a_case_is_named(old: str, new: str, told: str, tmp_path: Path) -> None:
    """With the file and the case's own name."""
    text = (HERE / "cases" / "acme.json").read_text()
    (tmp_path / "acme.json").write_text(text.replace(old, new, 1))

    with pytest.raises(ValueError, match=r"acme\.json: .+ is no conformance case") as caught:
        cases.load(tmp_path)

    assert told in str(caught.value)
