"""Many tasks, few processes."""
