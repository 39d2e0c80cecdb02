"""Files below a root, read and written by directory descriptors that follow no link."""
