"""Where credentials come from, and that they are renewed without anybody noticing."""

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import llm_gateway_api as gw
import pytest
import pytest_asyncio
from llm_gateway_provider_bedrock import endpoints, sources
from llm_gateway_provider_bedrock.credentials import CredentialStore
from llm_gateway_provider_bedrock.plugin import BedrockProvider
from llm_gateway_provider_bedrock.settings import Settings, api_key_of, region_of
from llm_gateway_provider_bedrock.signing import Credentials
from llm_gateway_provider_bedrock.sources import CredentialsError, Place
from llm_gateway_testkit import bedrock_dialect as bedrock
from llm_gateway_testkit.scripted import Answer, ScriptedProvider

SECRET = "s3cr3t-never-told"
DESCRIBED = {
    "AccessKeyId": "ASIAEXAMPLE",
    "SecretAccessKey": SECRET,
    "Token": "T-1",
    "Expiration": "2026-11-24T13:00:00Z",
}
EXPECTED = Credentials("ASIAEXAMPLE", SECRET, "T-1", 1795525200.0)
STS = f"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleResult><Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId>
<SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>T-1</SessionToken>
<Expiration>2026-11-24T13:00:00Z</Expiration></Credentials></AssumeRoleResult>
</AssumeRoleResponse>""".encode()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedProvider]:
    async with ScriptedProvider() as provider:
        yield provider


def place(tmp_path: Path, profile: str | None = None, **environ: str) -> Place:
    """Nothing of this machine: own home, no metadata service unless named."""
    base = {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    return Place({**base, **environ}, "us-east-1", profile)


def shared(tmp_path: Path, *, credentials: str = "", config: str = "") -> None:
    folder = tmp_path / ".aws"
    folder.mkdir(exist_ok=True)
    (folder / "credentials").write_text(credentials)
    (folder / "config").write_text(config)


def answer(body: Mapping[str, Any]) -> Answer:
    return Answer(body=json.dumps(body).encode())


# --- sources -------------------------------------------------------------------------------


def test_environment(tmp_path: Path) -> None:
    found = sources.resolve(
        place(
            tmp_path,
            AWS_ACCESS_KEY_ID="AKIAX",
            AWS_SECRET_ACCESS_KEY=SECRET,
            AWS_SESSION_TOKEN="T-2",
        )
    )

    assert found == Credentials("AKIAX", SECRET, "T-2")


def test_profile_of_the_files(tmp_path: Path) -> None:
    """Keys of ``credentials``, keys of ``config``; a ``%`` in a secret is a percent sign."""
    shared(
        tmp_path,
        credentials=f"[default]\naws_access_key_id=A\naws_secret_access_key={SECRET}%x\n",
        config="[profile team]\naws_access_key_id=B\naws_secret_access_key=b\nregion=eu-west-1\n",
    )

    assert sources.resolve(place(tmp_path)) == Credentials("A", f"{SECRET}%x")
    assert sources.resolve(place(tmp_path, AWS_PROFILE="team")) == Credentials("B", "b")
    chosen = place(tmp_path, "team", AWS_ACCESS_KEY_ID="C", AWS_SECRET_ACCESS_KEY="c")
    assert sources.resolve(chosen) == Credentials("B", "b")
    assert sources.profile_region(chosen.environ, "team") == "eu-west-1"


def test_files_elsewhere(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("[default]\naws_access_key_id=A\naws_secret_access_key=a\n")

    found = sources.resolve(place(tmp_path, AWS_SHARED_CREDENTIALS_FILE=str(other)))

    assert found == Credentials("A", "a")


def test_process(tmp_path: Path) -> None:
    """A program that the file names says credentials as JSON; no shell is involved."""
    script = tmp_path / "give.py"
    said = {"Version": 1, **DESCRIBED, "SessionToken": "T-1"}
    script.write_text(f"print({json.dumps(json.dumps(said))})")
    shared(tmp_path, config=f"[default]\ncredential_process={sys.executable} {script}\n")

    assert sources.resolve(place(tmp_path)) == EXPECTED


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("[profile other]\n", "no AWS profile 'team'"),
        ("[profile team]\nsso_session=x\n", "SSO"),
        ("[profile team]\nregion=x\n", "has no credentials"),
        ("[profile team]\nrole_arn=r\nsource_profile=team\n", "names itself"),
        ("[profile team]\nrole_arn=r\n", "no source"),
        ("[profile team]\ncredential_process=/does/not/exist\n", "shared files"),
        ("no section\n", "is no AWS configuration file"),
    ],
)
def test_profiles_that_cannot_be_used(tmp_path: Path, config: str, words: str) -> None:
    """What was named and is broken is told, and nothing else is tried in its place."""
    shared(tmp_path, config=config)

    with pytest.raises(CredentialsError, match=words):
        sources.resolve(place(tmp_path, "team"))


def test_nothing_at_all(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="access_key_id"):
        sources.resolve(place(tmp_path))


async def test_container(server: ScriptedProvider, tmp_path: Path) -> None:
    """The endpoint of a container, with the token of its file read anew each time."""
    token = tmp_path / "token"
    token.write_text("jwt-1\n")
    server.enqueue(answer(DESCRIBED))
    asked = place(
        tmp_path,
        AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{server.url}/get-credentials?x=1",
        AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(token),
    )

    assert await asyncio.to_thread(sources.resolve, asked) == EXPECTED

    (request,) = server.received
    assert request.path == "/get-credentials?x=1"
    assert request.headers["authorization"] == "jwt-1"


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("http://169.254.170.23/v1", True),
        ("http://127.0.0.1:80/x", True),
        ("https://example.org/x", True),
        ("http://example.org/x", False),
        ("http://169.254.169.254/x", False),
    ],
)
def test_hosts_of_the_container_endpoint(url: str, fine: bool) -> None:
    """A token is sent in the clear only where AWS says that it may."""
    environ = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": url}
    if fine:
        assert endpoints.container_url(environ) == url
    else:
        with pytest.raises(ValueError, match="neither"):
            endpoints.container_url(environ)
    relative = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/x"}
    assert endpoints.container_url(relative) == "http://169.254.170.2/v2/x"


async def test_instance_metadata(server: ScriptedProvider, tmp_path: Path) -> None:
    """IMDSv2: a token by PUT, then the role's name, then its credentials."""
    server.enqueue(
        Answer(body=b"imds-token"),
        Answer(body=b"my-role\n"),
        answer({"Code": "Success", **DESCRIBED}),
    )
    asked = place(
        tmp_path,
        AWS_EC2_METADATA_DISABLED="false",
        AWS_EC2_METADATA_SERVICE_ENDPOINT=server.url,
    )

    assert await asyncio.to_thread(sources.resolve, asked) == EXPECTED

    assert [each.method for each in server.received] == ["PUT", "GET", "GET"]
    assert server.received[0].headers["x-aws-ec2-metadata-token-ttl-seconds"] == "21600"
    assert server.received[2].path.endswith("/security-credentials/my-role")
    assert server.received[2].headers["x-aws-ec2-metadata-token"] == "imds-token"


async def test_no_instance(server: ScriptedProvider, tmp_path: Path) -> None:
    """Where nobody answers, or no role is attached, the chain is at its end."""
    server.enqueue(Answer(body=b"imds-token"), Answer(404))
    for url in (server.refused_url(), server.url):
        asked = place(tmp_path, AWS_EC2_METADATA_DISABLED="", AWS_EC2_METADATA_SERVICE_ENDPOINT=url)
        with pytest.raises(CredentialsError, match="No AWS credentials"):
            await asyncio.to_thread(sources.resolve, asked)


async def test_web_identity(server: ScriptedProvider, tmp_path: Path) -> None:
    """A pod's token is exchanged for a role; nothing is signed."""
    (tmp_path / "jwt").write_text("the-token")
    server.enqueue(Answer(body=STS))
    asked = place(
        tmp_path,
        AWS_WEB_IDENTITY_TOKEN_FILE=str(tmp_path / "jwt"),
        AWS_ROLE_ARN="arn:aws:iam::1:role/r",
        AWS_ENDPOINT_URL_STS=server.url,
    )

    assert await asyncio.to_thread(sources.resolve, asked) == EXPECTED

    (request,) = server.received
    assert b"Action=AssumeRoleWithWebIdentity" in request.body
    assert b"WebIdentityToken=the-token" in request.body
    assert "authorization" not in request.headers


async def test_role_with_a_source(server: ScriptedProvider, tmp_path: Path) -> None:
    """A role of a profile is assumed with its source's keys, signed for STS."""
    shared(
        tmp_path,
        credentials="[base]\naws_access_key_id=AKIABASE\naws_secret_access_key=b\n",
        config="[profile team]\nrole_arn=arn:aws:iam::1:role/r\nsource_profile=base\n"
        "external_id=e-1\nrole_session_name=gw\n",
    )
    server.enqueue(Answer(body=STS))
    asked = place(tmp_path, "team", AWS_ENDPOINT_URL_STS=server.url)

    assert await asyncio.to_thread(sources.resolve, asked) == EXPECTED

    (request,) = server.received
    assert "AKIABASE" in request.headers["authorization"]
    assert "/us-east-1/sts/aws4_request" in request.headers["authorization"]
    assert b"ExternalId=e-1" in request.body and b"RoleSessionName=gw" in request.body


@pytest.mark.parametrize(
    "reply",
    [Answer(403), Answer(body=b"<"), Answer(body=b"{}"), Answer(body=b'{"AccessKeyId":"x"}')],
)
async def test_endpoints_that_fail(server: ScriptedProvider, tmp_path: Path, reply: Answer) -> None:
    """An endpoint that is configured and fails ends the search; no body is quoted."""
    server.enqueue(reply)
    asked = place(tmp_path, AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{server.url}/x")

    with pytest.raises(CredentialsError, match="from container"):
        await asyncio.to_thread(sources.resolve, asked)


# --- the store -----------------------------------------------------------------------------


class Source:
    """Resolves as told, and counts. `gate` holds it in its thread."""

    def __init__(self, *found: Credentials | Exception) -> None:
        self.found = list(found)
        self.calls = 0
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self) -> Credentials:
        self.calls += 1
        assert self.gate.wait(10)
        found = self.found.pop(0) if len(self.found) > 1 else self.found[0]
        if isinstance(found, Exception):
            raise found
        return found


def lasting(seconds: float, name: str = "A") -> Credentials:
    return Credentials(name, "s", "t", 1_000_000.0 + seconds)


async def test_one_refresh_for_a_hundred_requests() -> None:
    """They wait for one renewal, and the loop goes on meanwhile."""
    source = Source(lasting(3600))
    source.gate.clear()
    store = CredentialStore(source, clock=lambda: 1_000_000.0)

    waiting = [asyncio.create_task(store.current()) for _ in range(100)]
    longest = 0.0
    for _ in range(20):
        begun = perf_counter()
        await asyncio.sleep(0)
        longest = max(longest, perf_counter() - begun)
    source.gate.set()
    found = await asyncio.gather(*waiting)

    assert source.calls == 1 and set(found) == {lasting(3600)}
    assert longest < 0.5


async def test_renewal_behind_the_requests() -> None:
    """A quarter of an hour before the end nobody waits for the new ones."""
    now = [1_000_000.0]
    source = Source(lasting(3600, "A"), lasting(7200, "B"))
    store = CredentialStore(source, clock=lambda: now[0])
    await store.current()

    now[0] += 3600 - 12 * 60
    source.gate.clear()
    early = [await store.current() for _ in range(5)]
    source.gate.set()
    assert store._task is not None
    await store._task

    assert (await store.current()).access_key_id == "B"
    assert {each.access_key_id for each in early} == {"A"}
    assert source.calls == 2


async def test_valid_ones_outlive_a_failing_source() -> None:
    """Close to the end the renewal fails: what is valid still is used, and then no longer."""
    now = [1_000_000.0]
    source = Source(lasting(3600), CredentialsError("gone"))
    store = CredentialStore(source, clock=lambda: now[0])
    await store.current()

    now[0] += 3600 - 60
    assert await store.current() == lasting(3600)
    now[0] += 61
    with pytest.raises(gw.UpstreamError) as caught:
        await store.current()

    assert caught.value.failure is gw.FailureClass.CREDENTIAL_REFUSED


async def test_a_bug_of_a_source_is_no_crash() -> None:
    """Whatever a source raises, its text stays inside."""
    store = CredentialStore(Source(RuntimeError(SECRET)))

    with pytest.raises(gw.UpstreamError) as caught:
        await store.current()

    assert SECRET not in str(caught.value)


async def test_a_request_that_leaves_ends_no_renewal() -> None:
    source = Source(lasting(3600))
    source.gate.clear()
    store = CredentialStore(source, clock=lambda: 1_000_000.0)

    leaving, staying = (asyncio.create_task(store.current()) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    source.gate.set()

    assert await staying == lasting(3600)
    assert source.calls == 1


# --- the provider --------------------------------------------------------------------------


def provider(**given: Any) -> BedrockProvider:
    return BedrockProvider("b", Settings(**{"region": "us-east-1", **given}))


PAIR = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "s"}
REQUEST = gw.ChatRequest(bedrock.MODEL, (gw.Message("user", (gw.TextPart("Hi"),)),))


async def signed(made: BedrockProvider) -> gw.UpstreamRequest:
    assert await made.auth_headers() == {}
    return made.sign(made.encode(REQUEST))


async def test_api_key_signs_nothing() -> None:
    """A bearer, and none of the headers of a signature."""
    sent = await signed(provider(api_key="bedrock-key"))

    assert sent.headers["authorization"] == "Bearer bedrock-key"
    assert not {"x-amz-date", "x-amz-security-token"} & sent.headers.keys()


async def test_expired_token_is_renewed_once() -> None:
    """The vendor calls it expired: the next try gets others. Where the source has the same
    again, it is refused; where another request had it renewed, nothing is given up."""
    now = [1_000_000.0]
    source = Source(lasting(9000, "A"), lasting(9000, "B"), lasting(9000, "B"), lasting(9000, "C"))
    store = CredentialStore(source, clock=lambda: now[0])

    await store.current()
    assert store.expire() and store.expire()
    assert (await store.current()).access_key_id == "B"
    assert store.expire()  # of a request that was signed with A
    assert store.snapshot is not None
    now[0] += 60
    assert store.expire()
    assert (await store.current()).access_key_id == "B"
    assert not store.expire()
    now[0] += 60
    assert not store.expire()
    assert (await store.current()).access_key_id == "C"
    assert source.calls == 4


def refusal(made: BedrockProvider, reply: Answer) -> gw.RefusedCall:
    return gw.RefusedCall(made.encode(REQUEST), {}, reply.status, reply.headers, reply.body)


async def test_expired_keys_that_last() -> None:
    """Keys of the settings are tried once more, and refused then."""
    made = provider(**PAIR)
    await signed(made)
    reply = bedrock.error_answer("ExpiredTokenException")

    first = refusal(made, reply)
    assert made.again(first) is first.request
    with pytest.raises(gw.UpstreamError):
        made.sign(made.encode(REQUEST))
    await signed(made)
    assert made.again(refusal(made, reply)) is None

    error = made.classify(reply.status, reply.headers, reply.body)
    assert error.failure is gw.FailureClass.CREDENTIAL_REFUSED


async def test_clock_of_the_vendor() -> None:
    """A signature refused for its time is made again by the vendor's clock, once."""
    made = provider(**PAIR)
    reply = bedrock.error_answer(
        "InvalidSignatureException", headers={"date": "Mon, 23 Nov 2026 12:10:00 GMT"}
    )

    assert made.again(refusal(made, reply)) is not None
    assert made.again(refusal(made, reply)) is None

    assert (await signed(made)).headers["x-amz-date"].startswith("20261123T1210")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"access_key_id": "A"}, "secret_access_key is missing"),
        ({"secret_access_key": "s"}, "access_key_id is missing"),
    ],
)
def test_half_a_pair(given: Mapping[str, str], words: str) -> None:
    with pytest.raises(gw.ConfigurationError, match=words):
        provider(**given)


def test_region_by_precedence(tmp_path: Path) -> None:
    shared(tmp_path, config="[default]\nregion=eu-north-1\n")
    home = {"HOME": str(tmp_path)}

    assert region_of(Settings(region="us-west-2"), {"AWS_REGION": "x"}) == "us-west-2"
    assert region_of(Settings(), {"AWS_REGION": "a", "AWS_DEFAULT_REGION": "b"}) == "a"
    assert region_of(Settings(), {"AWS_DEFAULT_REGION": "b"}) == "b"
    assert region_of(Settings(), home) == "eu-north-1"
    with pytest.raises(gw.ConfigurationError, match="AWS_REGION"):
        region_of(Settings(), {"HOME": str(tmp_path / "nobody")})


def test_api_key_by_precedence() -> None:
    """Keys or a profile of the settings win over the variable; an empty key is none."""
    environ = {"AWS_BEARER_TOKEN_BEDROCK": "env"}

    assert api_key_of(Settings.model_validate({"api_key": "own"}), environ) == "own"
    assert api_key_of(Settings(), environ) == "env"
    assert api_key_of(Settings.model_validate({"api_key": ""}), environ) == "env"
    assert api_key_of(Settings(profile="p"), environ) is None
    assert api_key_of(Settings.model_validate(PAIR), environ) is None


def test_hosts() -> None:
    china = provider(region="cn-north-1", api_key="k")
    own = provider(base_url="https://vpce-1.example.org/", api_key="k")

    assert china.encode(REQUEST).url.startswith(
        "https://bedrock-runtime.cn-north-1.amazonaws.com.cn/"
    )
    assert own.encode(REQUEST).url.startswith("https://vpce-1.example.org/model/")
