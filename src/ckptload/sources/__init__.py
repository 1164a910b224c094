"""Where bytes come from: files, buffers, file objects and URLs, read by ranges."""
