"""Resource and data source `kata_image`: what containers are made of."""
