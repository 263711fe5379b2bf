"""The command line: one module per command, which parses flags into one library call."""
