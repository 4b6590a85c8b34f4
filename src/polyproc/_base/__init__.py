"""The ground: what every other package may import."""
