"""Fork servers: processes that fork on request, the start method's and a pool's own."""
