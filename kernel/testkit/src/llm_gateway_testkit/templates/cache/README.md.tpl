# {{dist}}

Keeps answers in the memory of this process.

    pip install {{dist}}

```yaml
cache:
  backend: {{id}}
```

**Settings**: none beside those of `cache` (`enabled`, `default_ttl_seconds`).

**When it fails**: nothing is cached, and the kernel counts the error.

**Metrics**: none of its own.

## Working on it

`pytest` tests it, `mypy -p {{module}}` checks its types against the contract, `python -m build`
makes the wheel. `llm-gateway plugins check` says whether it fits the gateway beside it.
