"""The routing strategy latency_optimized."""
