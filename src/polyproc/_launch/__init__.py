"""How a child comes into the world, seen from its parent."""
