"""Who tidies what, and when."""
