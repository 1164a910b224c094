"""Modules of PyTorch as nets."""
