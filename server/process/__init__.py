"""The process: settings, the log, garbage collection."""
