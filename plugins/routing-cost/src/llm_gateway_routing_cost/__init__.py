"""The routing strategy cost_optimized."""
