"""Checkpoints of many ranks written again: as one, or cut for other devices."""
