"""What findings mean and how long they may wait: everyone reads it, administrators keep it."""
