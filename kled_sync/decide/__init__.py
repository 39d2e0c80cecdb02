"""The decisions of a sync: from three trees to operations. No I/O."""
