"""Loading a checkpoint into a net: match the names, make a plan, write the values."""
