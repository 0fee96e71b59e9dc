"""The conversation of `jamba chat`."""
