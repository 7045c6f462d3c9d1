# SPDX-License-Identifier: Apache-2.0
"""A disk that is slow or broken when a test wants it: disk.c between a node and the C library."""
import os
import shutil
import struct
import subprocess

from harness import Skip, folder

HERE = os.path.dirname(os.path.abspath(__file__))


class Disk:
    """What a node's syncs take and how they end, from now on."""

    def __init__(self):
        compiler = shutil.which("cc")
        if compiler is None:
            raise Skip("needs a C compiler")
        here = folder("disk")
        self.library = os.path.join(here, "disk.so")
        self._orders = os.path.join(here, "orders")
        self.be()
        subprocess.run([compiler, "-std=gnu11", "-shared", "-fPIC", "-o", self.library,
                        os.path.join(HERE, "disk.c"), "-ldl"], check=True)

    def be(self, slow_ms=0, error=0):
        with open(self._orders, "r+b" if os.path.exists(self._orders) else "wb") as out:
            out.write(struct.pack("=Ii", slow_ms * 1000, error))

    def env(self):
        return {"LD_PRELOAD": self.library, "GRAPEVINE_TEST_DISK": self._orders}
