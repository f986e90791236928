"""Secrets out of HashiCorp Vault (or OpenBao)."""
