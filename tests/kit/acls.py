"""An access control list as the kernel has it in an extended attribute."""

from __future__ import annotations

from typing import Final

# struct posix_acl_xattr_header, then entries of tag, permissions and id (linux/posix_acl_xattr.h):
# user::rw-, user:1234:rwx, group::r--, mask::rwx, other::---.
ACL: Final = bytes.fromhex(
    "02000000 01000600ffffffff 02000700d2040000 04000400ffffffff 10000700ffffffff 20000000ffffffff"
)
