"""Exhaustive exploration: every interleaving of a small cluster's steps, within bounds."""
