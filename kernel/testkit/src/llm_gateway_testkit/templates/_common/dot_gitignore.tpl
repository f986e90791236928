.venv/
dist/
__pycache__/
.mypy_cache/
.pytest_cache/
.ruff_cache/
