"""What both sides had last, on which every decision is based."""
