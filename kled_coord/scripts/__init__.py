"""The coordinator's side of a template's scripts: stores and shows what agents report.

`readiness` decides how an agent is; `service` takes what agents tell, gives them their specs and
has the scripts of a stop run; `following` reads it all again.
"""
