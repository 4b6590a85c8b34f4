"""The only package that may ask which system this is; each file wraps what differs."""
