"""Encrypted .ckpt files: sources that decrypt, and a writer that encrypts."""
