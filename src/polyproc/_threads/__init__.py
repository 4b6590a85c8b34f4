"""The names of this library, on threads in place of processes."""
