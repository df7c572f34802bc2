"""The same input through the same model once more: whether its answer is the same again."""
