"""The same names, on threads."""
