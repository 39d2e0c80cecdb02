"""The one port: reads a request head, and hands the connection to API, control or data plane."""
