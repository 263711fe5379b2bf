"""The command line: one module per command, each parsing flags into one library call."""
