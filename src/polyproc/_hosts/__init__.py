"""Processes on other hosts: engines keep agents alive there, agents start children, whose handles are here."""
