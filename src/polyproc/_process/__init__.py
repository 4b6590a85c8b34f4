"""A process: its object, its relatives, and the life of a new child."""
