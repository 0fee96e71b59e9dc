"""Saved contexts as the commands use them: opened, kept, listed, removed."""
