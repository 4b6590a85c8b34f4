"""Where everything is plugged together."""
