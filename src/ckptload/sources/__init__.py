"""Sources of bytes: files, buffers, file objects and URLs, read by ranges."""
