"""SQL and the rows it returns: one function per query or mutation."""
