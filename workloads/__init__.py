"""What clients do (workloads) and what they do it to (systems)."""
