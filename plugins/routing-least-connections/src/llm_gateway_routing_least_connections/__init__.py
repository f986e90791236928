"""The routing strategy least_connections."""
