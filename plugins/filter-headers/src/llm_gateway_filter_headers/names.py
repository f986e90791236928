"""Which headers are stripped, and which are added. Names in lower case."""

# RFC 9110, 7.6.1: they belong to one connection; with the older ones that servers still send.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Said once to the filter that identifies the caller; nobody after it needs them.
CREDENTIALS = frozenset(
    {
        "api-key",
        "authorization",
        "cookie",
        "cookie2",
        "x-api-key",
        "x-amz-security-token",
        "x-auth-token",
        "x-csrf-token",
        "x-goog-api-key",
        "x-xsrf-token",
    }
)
# What proxies say of the caller, and what callers say to pass for a proxy.
ADDRESSES = frozenset(
    {
        "cf-connecting-ip",
        "fastly-client-ip",
        "forwarded",
        "true-client-ip",
        "via",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-envoy-external-address",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-original-forwarded-for",
        "x-original-url",
        "x-real-ip",
        "x-rewrite-url",
    }
)
# What answers must not tell: software, versions, accounts at vendors.
TELLING = frozenset(
    {
        "anthropic-organization-id",
        "openai-organization",
        "openai-project",
        "server",
        "via",
        "x-aspnet-version",
        "x-aspnetmvc-version",
        "x-envoy-upstream-service-time",
        "x-generator",
        "x-powered-by",
        "x-runtime",
        "x-served-by",
        "x-version",
    }
)
# For an API whose answers are no pages: nothing in them may load, run, be framed or guessed at.
# After OWASP's cheat sheets for REST and for HTTP headers.
SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "x-permitted-cross-domain-policies": "none",
}
