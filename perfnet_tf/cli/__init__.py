"""The command line: one module a command, each parsing flags into one library call."""
