# {{dist}}

The target that failed least of late comes first.

    pip install {{dist}}

```yaml
routing:
  strategy: {{id}}
```

**Settings**: none of its own.

**When it fails**: it answers 500; a score is plain arithmetic and raises nothing.

**Metrics**: none of its own.

## Working on it

`pytest` tests it, `mypy -p {{module}}` checks its types against the contract, `python -m build`
makes the wheel. `llm-gateway plugins check` says whether it fits the gateway beside it.
