"""What runs a pool's calls: engines that perform a scheduler's actions, on processes and on threads."""
