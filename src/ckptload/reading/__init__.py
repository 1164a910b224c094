"""Looking into a file: from a source to an index, a reader and arrays."""
