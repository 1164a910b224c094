"""Nets to load into: cells of this package and of MindSpore, and modules of PyTorch."""
