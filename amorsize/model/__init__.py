"""Thinking only: no clock, operating system, thread, file or chance."""
