"""``GET /openapi.json``: what the gateway answers, made from what its plugins declare."""
