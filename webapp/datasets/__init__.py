"""Data sets to learn from, and snapshots of what the house's own clinicians decided."""
