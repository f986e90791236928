"""The metrics page in Prometheus' format."""
