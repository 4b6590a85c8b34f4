"""Objects that live in a server process, and stand-ins for them elsewhere."""
