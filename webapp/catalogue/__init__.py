"""Reading tasks and their findings: what can be asked of an image, and what may be answered."""
