# {{dist}}

Refuses requests that hold one of the configured words.

    pip install {{dist}}

```yaml
security:
  {{id}}: {words: ["secret"]}
```

**Settings**: `security.{{id}}.enabled` (`true`): false lets everything pass; `security.{{id}}.words` (none): words that are refused.

**When it fails**: the request is refused (fails closed).

**Metrics**: none of its own.

## Working on it

`pytest` tests it, `mypy -p {{module}}` checks its types against the contract, `python -m build`
makes the wheel. `llm-gateway plugins check` says whether it fits the gateway beside it.
