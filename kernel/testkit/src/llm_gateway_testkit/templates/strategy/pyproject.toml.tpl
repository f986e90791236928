[build-system]
requires = ["uv_build>=0.13,<0.14"]
build-backend = "uv_build"

[project]
name = "{{dist}}"
version = "0.1.0"
description = "{{name}}: a {{kind}} of the LLM gateway"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["llm-gateway-api>=0.1,<0.2"]

[project.entry-points."llm_gateway.plugins"]
{{plugin}} = "{{module}}.plugin"

[project.optional-dependencies]
dev = ["build>=1", "llm-gateway-testkit>=0.1,<0.2", "mypy>=1.18", "pytest>=8", "pytest-asyncio>=1", "ruff>=0.14"]

[tool.uv.build-backend]
module-name = "{{module}}"

[tool.pytest.ini_options]
testpaths = ["tests"]
addopts = ["--import-mode=importlib", "--strict-config", "--strict-markers"]
filterwarnings = ["error"]
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"

[tool.mypy]
strict = true
python_version = "3.11"

[tool.ruff]
line-length = 100
target-version = "py311"

[tool.ruff.lint]
select = ["E", "F", "I", "B", "UP", "SIM", "RUF"]
ignore = ["RUF012"]
