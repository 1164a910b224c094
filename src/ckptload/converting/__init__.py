"""Checkpoints written again in another format."""
