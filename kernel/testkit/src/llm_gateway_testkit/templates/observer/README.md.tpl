# {{dist}}

Counts how requests ended.

    pip install {{dist}}

```yaml
# installed means active: there is nothing to configure
```

**Settings**: none.

**When it fails**: the exception is counted and dropped; no request notices.

**Metrics**: `gateway_{{id}}_requests_total{outcome}`: requests by how they ended.

## Working on it

`pytest` tests it, `mypy -p {{module}}` checks its types against the contract, `python -m build`
makes the wheel. `llm-gateway plugins check` says whether it fits the gateway beside it.
