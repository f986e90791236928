"""Google Gemini as an upstream."""
