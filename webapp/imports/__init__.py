"""Many cases at once, from a table and an archive: tried first, then filed, row by row."""
