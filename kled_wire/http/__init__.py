"""HTTP/1.1, as little as our upgrades, requests and proxies need."""
