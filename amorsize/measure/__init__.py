"""Measuring: side effects live here; each function returns a fact."""
