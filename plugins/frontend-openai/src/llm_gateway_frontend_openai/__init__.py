"""OpenAI chat, completions, embeddings and models as a client dialect."""
