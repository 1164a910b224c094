"""The formats: how each one is read and written."""
