"""Files below a root, read and written through directory descriptors that follow no link."""
