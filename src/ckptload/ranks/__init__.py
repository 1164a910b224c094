"""Checkpoints of many ranks, read as one."""
