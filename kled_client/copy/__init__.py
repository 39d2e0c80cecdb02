"""`kled cp`: what is copied together, and the copies."""
