"""Bytes and objects between two processes."""
