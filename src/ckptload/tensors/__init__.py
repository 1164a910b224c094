"""Values: dtypes cast, tensors and parameters."""
