# SPDX-License-Identifier: Apache-2.0
"""Network namespaces: each node on a machine of its own, as far as the network is concerned.

All nodes hang on one bridge.  Clients and the admin port are reached over the loopback device inside
the node's own namespace, so that what is done to the network happens between nodes only.
"""
import ctypes
import os
import re
import socket
import subprocess
import threading

from harness import Skip, at_end

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _sh(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


def connect(namespace, address, timeout=10):
    """A TCP connection made inside the namespace (None: where we are)."""
    if namespace is None:
        return socket.create_connection(address, timeout)
    result = []

    def work():
        # setns() is about one thread: this one ends with the function.
        try:
            with open(f"/run/netns/{namespace}", "rb") as handle:
                if _libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), f"setns {namespace}")
            result.append(socket.create_connection(address, timeout))
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if isinstance(result[0], OSError):
        raise result[0]
    return result[0]


def _sweep():
    """Takes away what test runs that were killed have left."""
    for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else []:
        found = re.fullmatch(r"gvtest(\d+)-.*", name)
        if found and not os.path.exists(f"/proc/{found[1]}"):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


class Network:
    """A bridge and one namespace per host, until the case ends."""

    _count = 0

    def __init__(self, hosts):
        if os.geteuid() != 0:
            raise Skip("network namespaces need root")
        Network._count += 1
        self._prefix = f"gvtest{os.getpid()}-{Network._count}"
        self._made = []
        self.addresses = {host: f"10.77.0.{i + 1}" for i, host in enumerate(hosts)}
        self._rules = []
        _sweep()
        at_end(self._close)
        try:
            self._build()
        except (RuntimeError, OSError) as error:
            raise Skip(f"cannot make network namespaces: {error}") from error

    def _build(self):
        switch = self._add("switch")
        _sh("ip", "-n", switch, "link", "add", "br0", "type", "bridge")
        _sh("ip", "-n", switch, "link", "set", "br0", "up")
        for host, address in self.addresses.items():
            name = self._add(host)
            _sh("ip", "-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", host,
                "netns", switch)
            _sh("ip", "-n", switch, "link", "set", host, "master", "br0", "up")
            _sh("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            _sh("ip", "-n", name, "link", "set", "eth0", "up")
        _sh("ip", "netns", "exec", self.namespace(next(iter(self.addresses))), "iptables", "-L")

    def _add(self, host):
        name = self.namespace(host)
        _sh("ip", "netns", "add", name)
        self._made.append(name)
        _sh("ip", "-n", name, "link", "set", "lo", "up")
        return name

    def namespace(self, host):
        return f"{self._prefix}-{host}"

    def _rule(self, host, *rule):
        _sh("ip", "netns", "exec", self.namespace(host), "iptables", "-w", "-I", "INPUT", *rule)
        self._rules.append((host, rule))

    def cut_one_way(self, sender, receiver):
        """What `sender` says, `receiver` does not hear any more."""
        self._rule(receiver, "-s", self.addresses[sender], "-j", "DROP")

    def cut(self, a, b):
        self.cut_one_way(a, b)
        self.cut_one_way(b, a)

    def isolate(self, host):
        for other in self.addresses:
            if other != host:
                self.cut(host, other)

    def reset(self, a, b):
        """Breaks the connections between both, and refuses new ones until heal()."""
        for here, there in ((a, b), (b, a)):
            self._rule(here, "-p", "tcp", "-s", self.addresses[there], "-j", "REJECT",
                       "--reject-with", "tcp-reset")

    def heal(self):
        for host in {host for host, _ in self._rules}:
            _sh("ip", "netns", "exec", self.namespace(host), "iptables", "-w", "-F", "INPUT")
        self._rules.clear()

    def _close(self):
        for name in self._made:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
