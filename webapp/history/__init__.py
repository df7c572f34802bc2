"""The course of one lesion or eye: what was seen of it, and how answers moved."""
