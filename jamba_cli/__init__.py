"""The `jamba` command line: reads documents, asks the runtime, shows the answer."""
