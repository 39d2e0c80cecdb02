"""The part that speaks to both endpoints and decides: a sync, once or for as long as wanted."""
