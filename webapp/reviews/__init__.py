"""What clinicians decide on a case: immutable versions, each signed by one of them."""
