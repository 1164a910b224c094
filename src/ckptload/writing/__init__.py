"""How files are replaced, and what is to be saved gathered."""
