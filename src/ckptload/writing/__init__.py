"""Saving: gather what is to be saved, and replace files safely."""
