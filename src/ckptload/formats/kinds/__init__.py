"""Files of other kinds, recognised by their bytes, so that an error can name them."""
