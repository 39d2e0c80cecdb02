"""The one port: read a request head, hand the connection to the API, control or data plane."""
