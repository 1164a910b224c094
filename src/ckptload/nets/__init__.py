"""What a net is: cells of this package, of MindSpore, and modules of PyTorch."""
