"""What a process is: its object, its family, and the life of a new child."""
