"""Carrying out what was decided; nothing here decides."""
