"""Many to many."""
