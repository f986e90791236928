"""Ranking of documents against a query, as a client dialect of the LLM gateway."""
