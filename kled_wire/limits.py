"""Every size, count and time the parts agree on, each with its reason.

Sizes are bytes, times are seconds. What a stranger can send is bounded here and nowhere else.
"""

from __future__ import annotations

from typing import Final

# Request heads. 32 KiB holds any cookie jar a proxy adds; nginx and Node stop at 8 to 16 KiB.
HEAD_MAX_BYTES: Final = 32 * 1024
# A head that takes longer is a slow-loris; no network Kled is meant for needs 10 s for 32 KiB.
HEAD_TIMEOUT_S: Final = 10.0

# Control plane. One message is a report or a request, never bulk data.
CONTROL_MESSAGE_MAX_BYTES: Final = 1024 * 1024
CONTROL_MAX_DEPTH: Final = 16
# One string in it, in characters: names are far shorter, a registered key of RSA-16384 has 2,800.
CONTROL_TEXT_MAX: Final = 4096
# Strings in one list.
CONTROL_TEXTS_MAX: Final = 1024
# Heartbeat from the agent; both ends give the link up after three missed ones.
HEARTBEAT_S: Final = 15.0
DEAD_PEER_S: Final = 3 * HEARTBEAT_S
# The first message on a control link must be `Hello`.
HELLO_TIMEOUT_S: Final = 10.0
# Replies that wait on the peer (ping, dial acknowledgement).
REPLY_TIMEOUT_S: Final = 10.0

# Scripts. Of what one run prints the beginning and the end are kept.
SCRIPT_HEAD_BYTES: Final = 256 * 1024
SCRIPT_TAIL_BYTES: Final = 64 * 1024
# In one message; what a script floods with past the head is told a message a second.
SCRIPT_CHUNK_BYTES: Final = 16 * 1024
# A value of metadata, in characters.
METADATA_VALUE_MAX: Final = 2048

# An agent that has heard nothing for so long lets no registered key in: as long as a certificate
# lives, so that a key which was removed is worth no more than one.
KEYS_UNHEARD_S: Final = 600.0

# Data plane. The client waits this long for the agent to dial back.
DIAL_BACK_TIMEOUT_S: Final = 15.0
# Bytes moved per read: large reads are what makes a Python relay fast (docs/architecture.md).
COPY_CHUNK_BYTES: Final = 256 * 1024
# A pipe of this size lets splice(2) move as much per system call.
SPLICE_PIPE_BYTES: Final = 1024 * 1024

# Redial: capped exponential backoff with full jitter.
REDIAL_FIRST_S: Final = 0.25
REDIAL_CAP_S: Final = 15.0
# Agents whose links end together, with what they went through, come back spread over this.
REDIAL_SPREAD_S: Final = 1.0
# A link that comes up and ends again, over and over, is dialled a few times at once, and then on
# average as often as one that never comes up: the cap, with full jitter, is half of it.
REDIAL_BURST: Final = 4
REDIAL_EVERY_S: Final = REDIAL_CAP_S / 2
# An agent whose token was refused asks again only this often: a person has to act first.
REDIAL_REFUSED_S: Final = 300.0

# Bounded clean-up in `finally` blocks.
CLEANUP_S: Final = 5.0
# How long a closing link waits for the peer's close; ours has been sent by then.
GOODBYE_S: Final = 1.0

# Uploaded templates: Terraform sources are text.
TEMPLATE_MAX_BYTES: Final = 16 * 1024 * 1024
# How much of a request is read before the caller is authenticated; any login fits.
ANONYMOUS_BODY_MAX_BYTES: Final = 16 * 1024
# JSON bodies of the API.
API_BODY_MAX_BYTES: Final = 1024 * 1024
# Terraform state that one workspace may hold.
STATE_MAX_BYTES: Final = 64 * 1024 * 1024

# How many bytes may be under way to us in one SSH channel; asyncssh's 2 MiB are few for a long
# path.
SSH_WINDOW_BYTES: Final = 4 * 1024 * 1024
# How many bytes the peer may put into one packet; OpenSSH's own receive limit is 256 KiB.
SSH_PACKET_BYTES: Final = 128 * 1024
