"""Objects to bytes that another process can open."""
