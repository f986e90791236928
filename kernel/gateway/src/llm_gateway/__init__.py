"""The kernel of the LLM gateway: server, binding, pipeline, upstream, command line."""
