"""From a checkpoint into a net: names matched, a plan made, values written."""
