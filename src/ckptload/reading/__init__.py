"""Reading a checkpoint: from a source to an index, a reader and arrays."""
