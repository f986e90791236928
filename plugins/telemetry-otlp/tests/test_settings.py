"""Where traces go: the settings first, then the variables, old names with a warning."""

import pytest
from llm_gateway_telemetry_otlp.plugin import make
from llm_gateway_telemetry_otlp.settings import TracingSettings, service_name, target
from pydantic import ValidationError


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENDPOINT", "OTLP_ENDPOINT", "JAEGER_ENDPOINT"):
        monkeypatch.delenv(f"OTEL_EXPORTER_{name}", raising=False)
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"otlp_endpoint": "http://jaeger:4318"}, "http://jaeger:4318/v1/traces"),
        ({"otlp_endpoint": "http://jaeger:4318/v1/traces"}, "http://jaeger:4318/v1/traces"),
        ({"otlp_endpoint": "https://c.example/otlp/"}, "https://c.example/otlp/v1/traces"),
        (
            {"jaeger_endpoint": "http://jaeger:14268/api/traces"},
            "http://jaeger:4318/v1/traces",
        ),
        ({}, None),
    ],
)
def test_the_endpoint_of_the_settings(settings: dict[str, str], url: str | None) -> None:
    found, warning = target(TracingSettings.model_validate(settings))

    assert found == url
    assert (warning is not None) == ("jaeger_endpoint" in settings)


def test_variables_stand_in_for_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_JAEGER_ENDPOINT", "http://old:14268/api/traces")
    assert target(TracingSettings())[0] == "http://old:4318/v1/traces"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://new:4318")
    assert target(TracingSettings()) == ("http://new:4318/v1/traces", None)
    given = TracingSettings(otlp_endpoint="http://file:4318")
    assert target(given)[0] == "http://file:4318/v1/traces"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "edge")
    assert service_name(given) == "edge"


def test_what_is_no_address_of_otlp_over_http_is_refused() -> None:
    with pytest.raises(ValidationError, match="4318"):
        TracingSettings(otlp_endpoint="jaeger:4317")


def test_the_port_of_grpc_is_taken_with_a_warning() -> None:
    url, warning = target(TracingSettings(otlp_endpoint="http://jaeger:4317"))

    assert url == "http://jaeger:4317/v1/traces"
    assert warning is not None and "4318" in warning


def test_without_an_endpoint_nothing_is_made() -> None:
    assert make(TracingSettings()) is None


@pytest.mark.parametrize(("given", "lines"), [({}, 0), ({"sample_rate": 1.0}, 1)])
def test_a_section_without_an_endpoint_is_warned_about(
    given: dict[str, float], lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert make(TracingSettings.model_validate(given)) is None
    assert [each for each in caplog.messages if "no otlp_endpoint" in each] == caplog.messages
    assert len(caplog.messages) == lines
