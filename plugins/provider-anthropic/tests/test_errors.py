"""What the vendor's errors mean; a 5xx that mentions a context stays a server error."""

import json

import pytest
from llm_gateway_provider_anthropic.errors import MAX_WORDS, meaning, refused
from llm_gateway_testkit.anthropic_dialect import error_body


@pytest.mark.parametrize(
    ("status", "kind", "words", "code", "failure"),
    [
        (400, "invalid_request_error", "messages: wrong", None, "caller_fault"),
        (400, "invalid_request_error", "prompt is too long: 2 > 1", None, "context_too_long"),
        (400, "invalid_request_error", "would exceed context limit", None, "context_too_long"),
        (400, "invalid_request_error", "You have reached your usage limits", None, "account_empty"),
        (401, "authentication_error", "invalid x-api-key", None, "credential_refused"),
        (402, "billing_error", "no credit", None, "account_empty"),
        (403, "permission_error", "no", None, "credential_refused"),
        (404, "not_found_error", "model: x", None, "model_gone"),
        (408, "timeout_error", "x", None, "server_error"),
        (409, "conflict_error", "x", None, "server_error"),
        (413, "request_too_large", "x", None, "caller_fault"),
        (422, "invalid_request_error", "x", None, "caller_fault"),
        (429, "rate_limit_error", "x", None, "rate_limited"),
        (429, "rate_limit_error", "x", "enforced_spend_limit_reached", "account_empty"),
        (429, "rate_limit_error", "x", "contract_spend_limit_reached", "account_empty"),
        (429, "rate_limit_error", "x", "ramp_limit_exceeded", "rate_limited"),
        (500, "api_error", "prompt is too long", None, "server_error"),
        (503, "api_error", "cmek", None, "overloaded"),
        (504, "timeout_error", "x", None, "server_error"),
        (529, "overloaded_error", "Overloaded", None, "overloaded"),
    ],
)
def test_every_class(status: int, kind: str, words: str, code: str | None, failure: str) -> None:
    error = refused(status, {}, json.dumps(error_body(kind, words, code)).encode())

    assert error.failure == failure
    assert error.upstream_status == status


def test_caller_sees_the_vendors_words_without_secrets() -> None:
    words = "bad key sk-ant-api03-SECRET at https://x.test/y " + "z" * 900
    error = meaning({"type": "invalid_request_error", "message": words}, 400)

    assert "SECRET" not in error.message and "x.test" not in error.message
    assert len(error.message) == MAX_WORDS


@pytest.mark.parametrize("status", [401, 402, 403, 500, 529])
def test_what_is_ours_to_mend_is_told_in_our_words(status: int) -> None:
    body = json.dumps(error_body("x", "org-123 owes money")).encode()

    assert "org-123" not in refused(status, {}, body).message


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        (
            {
                "date": "Mon, 23 Nov 2026 10:00:00 GMT",
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-11-23T10:00:12Z",
                "anthropic-ratelimit-tokens-remaining": "5",
                "anthropic-ratelimit-tokens-reset": "2026-11-23T10:59:00Z",
            },
            12.0,
        ),
        ({"anthropic-ratelimit-requests-remaining": "0"}, None),
        ({}, None),
    ],
)
def test_wait(headers: dict[str, str], wait: float | None) -> None:
    assert refused(429, headers, b"{}").retry_after == wait
