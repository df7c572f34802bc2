"""Training runs: what is asked for, how far it is, and the candidate that comes of it."""
