"""The safetensors format, in one file or in shards."""
