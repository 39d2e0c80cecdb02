"""The file-sync engine, which runs the same code at both ends.

`tree` is what a side has, `decide` what is to be done, `wire` what the parts say to each other;
none of them does I/O. `files` reads and writes below a root, `endpoint` is the process at either
end, `session` (Trio) is the one that speaks to both. Imported only when a sync begins.
"""
