"""Encrypted .ckpt files: from one source to another."""
