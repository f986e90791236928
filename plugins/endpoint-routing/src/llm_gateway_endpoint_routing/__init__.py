"""How requests are routed: shown, counted and explained."""
