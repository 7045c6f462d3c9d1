# SPDX-License-Identifier: Apache-2.0
"""A small disk for one node, which may be filled: a tmpfs in a mount namespace of its own.

The namespace is held by a process that sleeps, so the node may end and start again on the same disk.
Needs root, or a kernel that lets users have namespaces; without either the case is skipped.
"""
import os
import subprocess

from harness import Skip, folder, spawn

HOLD = 'mount -t tmpfs -o size="$1" none "$0" && echo mounted && exec sleep 100000'


class SmallDisk:
    def __init__(self, size):
        self.path = folder("disk")
        is_root = os.geteuid() == 0
        unshare = ["unshare", "-m"] if is_root else ["unshare", "-m", "-U", "-r"]
        self._holder = spawn([*unshare, "sh", "-c", HOLD, self.path, size],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self._holder.stdout.readline() != "mounted\n":
            raise Skip(f"no file system of our own here: {self._holder.stderr.read().strip()}")
        user = [] if is_root else ["-U", "--preserve-credentials"]
        #: for Node(launcher=...)
        self.launcher = ["nsenter", *user, "-m", "-t", str(self._holder.pid)]

    def file(self, path):
        """A path on the disk, or below it, as we see it from outside."""
        return f"/proc/{self._holder.pid}/root{path}"

    def fill(self):
        """Takes all that is left, as somebody else's file would."""
        with open(self.file(os.path.join(self.path, "hog")), "wb", buffering=0) as hog:
            try:
                while hog.write(bytes(4096)) == 4096:
                    pass
            except OSError:
                pass

    def free(self):
        """Gives back what fill() took."""
        os.unlink(self.file(os.path.join(self.path, "hog")))
