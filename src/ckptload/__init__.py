"""Reads MindSpore .ckpt files without MindSpore."""
