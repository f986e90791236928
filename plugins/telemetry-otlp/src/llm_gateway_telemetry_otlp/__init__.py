"""Traces over OTLP and HTTP: what the kernel records, sampled and exported beside the requests."""
