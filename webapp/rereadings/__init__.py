"""Cases that a model which has begun to serve reads otherwise than they were read."""
