"""Values of MindSpore, PyTorch and numpy: what they are, taken as arrays, and made from arrays."""
