"""How a child is started, seen from its parent: by fork, by spawn, from a spare interpreter."""
