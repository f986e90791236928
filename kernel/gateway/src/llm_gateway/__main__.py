"""``python -m llm_gateway`` is ``llm-gateway``."""

from llm_gateway.cli import main

if __name__ == "__main__":
    main()
