# {{dist}}

{{name}} as an upstream of the LLM gateway.

    pip install {{dist}}

```yaml
providers:
  {{id}}: {api_key: "${{{ENV}}}"}
```

| setting | default | meaning |
| --- | --- | --- |
| `api_key` | `{{ENV}}` | the key; without one the instance is off |
| `base_url` | `{{base_url}}` | base of the API |
| `quirks` | see `QUIRKS` | differences of the server, see `llm-gateway-dialect-openai` |

and those that every provider has (`timeout_seconds`, `max_retries`, `rate_limit`, `models`, ...).

**When {{name}} fails** the kernel tries again or asks the next target, by the class of the error;
a class that the vendor words in its own way goes into `errors` of `{{Class}}`.

**Metrics**: none of its own; the kernel counts requests, errors and tokens by provider.

## Working on it

1. Put the vendor's address into `BASE_URL` and what it does otherwise than OpenAI into `QUIRKS`.
2. `pytest` runs the conformance kit on the cases in `tests/cases`; add one for each thing the
   vendor does in its own way. `pytest --llm-gateway-plugin {{plugin}}` shows what is proven.
3. `export {{ENV}}=...`, `llm-gateway start`, and ask for `{{id}}/MODEL`.
4. `python -m build` makes the wheel.
