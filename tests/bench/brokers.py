# SPDX-License-Identifier: Apache-2.0
"""Brokers to measure, each in a process of its own, and `grapevine bench` to measure them with."""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))
from harness import free_port, program  # noqa: E402

CONNACK = bytes([0x20, 2, 0, 0])


def build():
    """The release preset, unless GRAPEVINE_BIN says where the programs are."""
    if "GRAPEVINE_BIN" in os.environ:
        return
    subprocess.run(["cmake", "--preset", "release"], cwd=ROOT, check=True,
                   stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", "--preset", "release", "--target", "grapevine",
                    "grapevined"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


class Broker:
    """A process of its own for one measurement: `with Broker() as broker`."""

    name = None

    def __init__(self):
        self.port = free_port()
        self.folder = tempfile.mkdtemp(prefix="grapevine-compare-")
        self.process = None
        self.startup_ms = None

    def __enter__(self):
        begun = time.monotonic()
        with open(os.path.join(self.folder, "log"), "wb") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log)
        while not self._takes_clients():
            if self.process.poll() is not None or time.monotonic() > begun + 20:
                self.__exit__()
                sys.exit(f"{self.name} does not start")
            time.sleep(0.0005)
        self.startup_ms = (time.monotonic() - begun) * 1000
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def bench_command(self, *options):
        return [program("grapevine"), "bench", *options, "--json", "--quiet", "--target",
                f"127.0.0.1:{self.port}", "--broker-pid", str(self.process.pid)]

    def bench(self, *options):
        """The report of `grapevine bench` with these options."""
        done = subprocess.run(self.bench_command(*options), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, check=False)
        return json.loads(done.stdout)

    def memory_bytes(self, key="VmRSS"):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key))

    def _takes_clients(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as client:
                client.sendall(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c")
                return client.recv(4) == CONNACK
        except OSError:
            return False


class Grapevine(Broker):
    name = "grapevine"

    def command(self):
        # With windows of 64 each a hundred publishers outrun one subscriber's default of 256, until
        # its queue is full; Mosquitto below has no limit either.
        return [program("grapevined"), "--data", os.path.join(self.folder, "data"), "--admin", "",
                "--listen", f"tcp://127.0.0.1:{self.port}", "--set", "storage.sync=off",
                "--set", "mqtt.subscriptions_max=10000000", "--set", "mqtt.inflight_max=65535"]


class Mosquitto(Broker):
    name = "mosquitto"

    def command(self):
        path = os.path.join(self.folder, "mosquitto.conf")
        with open(path, "w", encoding="ascii") as out:
            # With its limits of 20 in flight and 1000 waiting it would drop messages and connections
            # in some scenarios; without them it is also faster.
            out.write(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
                      "log_type error\nset_tcp_nodelay true\nmax_queued_messages 0\n"
                      "max_inflight_messages 0\n")
        return [shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin"), "-c", path]
