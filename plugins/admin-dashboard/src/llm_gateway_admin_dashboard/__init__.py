"""Pages for operators, served by the gateway itself."""
