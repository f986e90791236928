"""Signature Version 4 against AWS's published vectors, botocore, and recorded requests."""

import datetime
import hashlib
from collections.abc import Mapping

import llm_gateway_api as gw
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_gateway_provider_bedrock.decoding import ConverseDecoder
from llm_gateway_provider_bedrock.families import segment
from llm_gateway_provider_bedrock.signing import (
    MAX_STAMPS,
    Credentials,
    Signer,
    canonical_head,
)

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
HOST = "https://bedrock-runtime.us-east-1.amazonaws.com"
NOON = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC).timestamp()
BODY = (
    b'{"messages":[{"role":"user","content":[{"text":"hi"}]}],"inferenceConfig":{"maxTokens":16}}'
)
JSON = {"content-type": "application/json"}
PROFILE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"


def asked(
    url: str, method: str = "POST", headers: Mapping[str, str] = JSON, body: bytes = BODY
) -> gw.UpstreamRequest:
    return gw.UpstreamRequest(method, url, headers, body, ConverseDecoder)


def signature(sent: gw.UpstreamRequest) -> str:
    return sent.headers["authorization"].rpartition("Signature=")[2]


def of(model: str, operation: str, token: str | None) -> gw.UpstreamRequest:
    signer = Signer("us-east-1", clock=lambda: NOON)
    url = f"{HOST}/model/{segment(model)}/{operation}"
    return signer.sign(asked(url), Credentials(KEY, SECRET, token))


@pytest.mark.parametrize(
    ("model", "operation", "token", "wanted"),
    [
        (
            PROFILE,
            "converse",
            "TOKENEXAMPLE",
            "2a391e5bb1b9d583c8250d31a0039dbff371fc13aff8b6309183b9fcb0e6316a",
        ),
        (
            ARN,
            "converse-stream",
            "TOKENEXAMPLE",
            "9b0891c4b0fbb7c0fa474e730d431efa4b535bcf3380dd48509ccb0314e0e240",
        ),
        (
            "amazon.nova-pro-v1:0",
            "converse",
            None,
            "50abe1944e01e185745595f58eeca6d4f5b7692fa14c2d5197a962c2d71cf348",
        ),
    ],
    ids=["profile with a session token", "ARN", "no session token"],
)
def test_recorded_vectors(model: str, operation: str, token: str | None, wanted: str) -> None:
    """Signatures that botocore and an independent signer agreed on."""
    sent = of(model, operation, token)

    assert signature(sent) == wanted
    names = "content-type;host;x-amz-date" + (";x-amz-security-token" if token else "")
    assert f"SignedHeaders={names}," in sent.headers["authorization"]


def test_canonical_form_of_a_profile() -> None:
    """The encoded path is encoded once more; the digest is the recorded one."""
    headers = {**JSON, "x-amz-date": "20261123T120000Z", "x-amz-security-token": "TOKENEXAMPLE"}

    head, _ = canonical_head("POST", f"{HOST}/model/{segment(PROFILE)}/converse", headers)
    text = f"{head}\n{hashlib.sha256(BODY).hexdigest()}"

    assert text.split("\n")[1] == (
        "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%253A0/converse"
    )
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "5bc7d5ad3df562efcc3709f7dc14c754b9becf64e7bea427c0901c981ed91986"
    )


@pytest.mark.parametrize(
    ("method", "query", "headers", "body", "wanted"),
    [
        (
            "GET",
            "/",
            {},
            b"",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "POST",
            "/",
            {},
            b"",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            "GET",
            "/?Param2=value2&Param1=value1",
            {},
            b"",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "POST",
            "/",
            {"content-type": "application/x-www-form-urlencoded"},
            b"Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ],
    ids=["get-vanilla", "post-vanilla", "get-vanilla-query-order", "post-x-www-form-urlencoded"],
)
def test_published_vectors(
    method: str, query: str, headers: Mapping[str, str], body: bytes, wanted: str
) -> None:
    """The vendor's own test suite (2015-08-30, service ``service``)."""
    when = datetime.datetime(2015, 8, 30, 12, 36, tzinfo=datetime.UTC).timestamp()
    signer = Signer("us-east-1", "service", clock=lambda: when)

    sent = signer.sign(
        asked(f"https://example.amazonaws.com{query}", method, headers, body),
        Credentials(KEY, SECRET),
    )

    assert signature(sent) == wanted


@settings(max_examples=60, deadline=None)
@given(
    model=st.text(st.characters(codec="utf-8"), min_size=1, max_size=40),
    body=st.binary(max_size=60),
    token=st.none() | st.from_regex(r"[A-Za-z0-9+/=]{1,40}", fullmatch=True),
    query=st.sampled_from(["", "?a=b", "?b=2&a=1", "?byOutputModality=TEXT&x=%2F"]),
)
def test_same_as_botocore(model: str, body: bytes, token: str | None, query: str) -> None:
    """For any model name, body and token the signature is botocore's."""
    url = f"{HOST}/model/{segment(model)}/converse{query}"
    signer = Signer("us-east-1", clock=lambda: NOON)

    sent = signer.sign(asked(url, body=body), Credentials(KEY, SECRET, token))

    assert sent.headers["authorization"] == boto_authorization(url, body, token)


def boto_authorization(url: str, body: bytes, token: str | None) -> str:
    auth = SigV4Auth(BotoCredentials(KEY, SECRET, token), "bedrock", "us-east-1")
    request = AWSRequest("POST", url, headers=dict(JSON), data=body)
    request.context["timestamp"] = "20261123T120000Z"
    request.headers["X-Amz-Date"] = "20261123T120000Z"
    if token is not None:
        request.headers["X-Amz-Security-Token"] = token
    canonical = auth.canonical_request(request)
    text = auth.string_to_sign(request, canonical)
    names = auth.signed_headers(auth.headers_to_sign(request))
    return (
        f"AWS4-HMAC-SHA256 Credential={auth.scope(request)}, SignedHeaders={names}, "
        f"Signature={auth.signature(text, request)}"
    )


def test_clock_is_corrected_once() -> None:
    """A clock that is off is set by the vendor's, and no second time for the same."""
    signer = Signer("us-east-1", clock=lambda: NOON)

    assert signer.correct("Mon, 23 Nov 2026 12:10:00 GMT")
    assert not signer.correct("Mon, 23 Nov 2026 12:10:01 GMT")
    assert not signer.correct("no date")
    assert not signer.correct(None)
    sent = signer.sign(asked(f"{HOST}/model/m/converse"), Credentials(KEY, SECRET))
    assert sent.headers["x-amz-date"] == "20261123T121000Z"


def test_another_day_gets_another_key() -> None:
    """The key of the day is not kept beyond it, nor for another secret."""
    now = [NOON]
    signer = Signer("us-east-1", clock=lambda: now[0])
    url = f"{HOST}/model/m/converse"

    signer.sign(asked(url), Credentials(KEY, SECRET))
    now[0] += 86400
    later = signer.sign(asked(url), Credentials(KEY, SECRET))
    other = signer.sign(asked(url), Credentials(KEY, "another"))

    fresh = Signer("us-east-1", clock=lambda: now[0])
    assert signature(later) == signature(fresh.sign(asked(url), Credentials(KEY, SECRET)))
    assert signature(other) != signature(later)


def test_credentials_do_not_print() -> None:
    """A secret never reaches a log by its representation."""
    text = repr(Credentials("AKIDEXAMPLE", SECRET, "TOKENEXAMPLE"))

    assert SECRET not in text and "TOKENEXAMPLE" not in text


def test_what_is_kept_within_a_second_changes_no_signature() -> None:
    """Calls in a row, by one signer, are signed as each alone would be by a new one."""
    now = [NOON]
    signer = Signer("us-east-1", clock=lambda: now[0])
    one, other = Credentials(KEY, SECRET), Credentials(KEY, SECRET, "TOKENEXAMPLE")
    urls = [f"{HOST}/model/m{number}/converse" for number in range(MAX_STAMPS + 1)]
    calls = [(asked(url), one) for url in urls]
    calls += [(asked(urls[0], body=b"another"), one), (asked(urls[0], "PUT"), one)]
    calls += [(asked(urls[0], headers={**JSON, "accept": "text/plain"}), one)]
    calls += [(asked(urls[0]), credentials) for credentials in (one, other, one)]

    for call, credentials in [*calls, *calls]:
        alone = Signer("us-east-1", clock=lambda: now[0]).sign(call, credentials)
        assert signer.sign(call, credentials) == alone
        now[0] += 0.05


def test_no_more_than_a_bounded_number_of_stamps_is_kept() -> None:
    signer, credentials = Signer("us-east-1", clock=lambda: NOON), Credentials(KEY, SECRET)

    for number in range(3 * MAX_STAMPS):
        signer.sign(asked(f"{HOST}/model/m{number}/converse"), credentials)

    assert len(signer._stamps) <= MAX_STAMPS
