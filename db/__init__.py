"""SQL and the rows it returns: one function per statement."""
