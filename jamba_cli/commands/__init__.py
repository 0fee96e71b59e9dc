"""One module a command: its options, and a body that parses, calls and prints."""
