"""`kled stream`: one data stream to a workspace, joined to what ssh gave us. Standard library only
until a WebSocket or a listener needs Trio.
"""
