"""Maps: the names of a checkpoint in a net, and what its values need besides; written by hand, or proposed."""
