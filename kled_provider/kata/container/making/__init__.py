"""Makes a container: checks it against the machine, joins it to networks and volumes, starts it."""
