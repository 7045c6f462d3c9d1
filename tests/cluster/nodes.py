# SPDX-License-Identifier: Apache-2.0
"""Real grapevined processes, alone or as a cluster, and what their admin ports say."""
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import netns
from suite import SLOW, Failed, eventually, require

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"
TROUBLE = re.compile(r"Sanitizer|runtime error|[Aa]ssert|stack smashing|corrupted|free\(\)")


def program():
    folder = os.environ.get("GRAPEVINE_BIN", ROOT / "build" / "debug" / "bin")
    return str(pathlib.Path(folder) / "grapevined")


def free_port():
    """Below the range the kernel gives to outgoing connections, so that a restart finds it free."""
    while True:
        port = random.randrange(10000, 30000)
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
                return port
            except OSError:
                continue


class Node:
    def __init__(self, name, folder, cluster_host=LOOPBACK, namespace=None, settings=()):
        self.name = name
        self.data = os.path.join(folder, name)
        self.log_path = os.path.join(folder, name + ".log")
        self.namespace = namespace
        self.mqtt = (LOOPBACK, free_port())
        self.admin = (LOOPBACK, free_port())
        self.cluster = (cluster_host, free_port())
        self.seeds = []
        self.settings = list(settings)
        self.prefix = []
        self.process = None
        self.was_killed = False

    def command(self):
        command = list(self.prefix)
        if self.namespace is not None:
            command += ["ip", "netns", "exec", self.namespace]
        command += [program(), "--node", self.name, "--data", self.data, "--listen",
                    f"tcp://{self.mqtt[0]}:{self.mqtt[1]}", "--cluster",
                    f"{self.cluster[0]}:{self.cluster[1]}", "--admin",
                    f"{self.admin[0]}:{self.admin[1]}"]
        for host, port in self.seeds:
            command += ["--seed", f"{host}:{port}"]
        for setting in self.settings:
            command += ["--set", setting]
        return command

    def spawn(self):
        require(self.process is None, f"{self.name} is running")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        self.was_killed = False

    def start(self):
        self.spawn()
        self.wait_serving()

    def wait_serving(self):
        def serves():
            require(self.process.poll() is None,
                    f"{self.name} ended with {self.process.poll()}: {self.log()[-1000:]}")
            return self.try_api("/api/v1/status") is not None
        eventually(serves, 10, f"{self.name} serves its admin port")

    # ---- what happens to it ---------------------------------------------------------------

    def kill9(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait_end(self, seconds=15):
        """Its exit status."""
        try:
            code = self.process.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            self.kill9()
            raise Failed(f"{self.name} did not end within {seconds * SLOW:g} s after SIGTERM") from None
        self.process = None
        return code

    def stop(self):
        self.terminate()
        code = self.wait_end()
        require(code == 0, f"{self.name} ended with {code}: {self.log()[-1500:]}")

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    # ---- what it says ---------------------------------------------------------------------

    def log(self):
        try:
            with open(self.log_path, errors="replace") as log:
                return log.read()
        except FileNotFoundError:
            return ""

    def try_api(self, path, timeout=2):
        """None: no answer."""
        connection = http.client.HTTPConnection(*self.admin)
        try:
            connection.sock = netns.connect(self.namespace, self.admin, timeout)
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            return json.loads(body) if path.startswith("/api") else (response.status, body)
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def api(self, path):
        answer = self.try_api(path, 10 * SLOW)
        require(answer is not None, f"{self.name} does not answer {path}")
        return answer

    def peers(self):
        """Its view of the nodes, itself included, by name; empty while it does not answer."""
        answer = self.try_api("/api/v1/nodes")
        return {row["node"]: row for row in answer["data"]} if answer else {}

    def counter(self, name):
        return self.api("/api/v1/status")["counters"][name]

    def memory_bytes(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) * 1024


class Cluster:
    """Nodes n1, n2, ...; leaving the `with` block ends them and looks for trouble in their logs."""

    def __init__(self, count=3, network=None, settings=()):
        self.folder = tempfile.mkdtemp(prefix="gv-cluster-")
        settings = ["cluster.secret=x", *settings]
        self.nodes = []
        for i in range(count):
            name = f"n{i + 1}"
            host, space = LOOPBACK, None
            if network is not None:
                host, space = network.addresses[name], network.namespace(name)
            self.nodes.append(Node(name, self.folder, host, space, settings))
        for node in self.nodes:
            node.seeds = [other.cluster for other in self.nodes if other is not node]

    def __enter__(self):
        try:
            for node in self.nodes:
                node.spawn()
            for node in self.nodes:
                node.wait_serving()
            self.wait_complete()
        except BaseException:
            self._end(keep=True)
            raise
        return self.nodes

    def wait_complete(self, seconds=10):
        wait_complete(self.nodes, seconds)

    def __exit__(self, kind, error, trace):
        trouble = self._end(keep=kind is not None)
        if trouble and (kind is None or issubclass(kind, Failed)):
            raise Failed("; ".join([str(error)] * (kind is not None) + trouble)) from error

    def _end(self, keep):
        trouble = []
        for node in self.nodes:
            if node.process is None:
                continue
            if node.process.poll() is not None:
                trouble.append(f"{node.name} ended by itself with {node.process.poll()}")
                node.process = None
                continue
            node.thaw()
            node.terminate()
        for node in self.nodes:
            if node.process is not None:
                try:
                    code = node.wait_end()
                    if code != 0:
                        trouble.append(f"{node.name} ended with {code} after SIGTERM")
                except Failed as failed:
                    trouble.append(str(failed))
        for node in self.nodes:
            found = TROUBLE.search(node.log())
            if found:
                line = node.log()[max(0, found.start() - 80):found.start() + 200]
                trouble.append(f"{node.name} says: {' | '.join(line.splitlines())}")
        if keep or trouble:
            print(f"# logs are in {self.folder}", flush=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        return trouble


def is_complete(nodes):
    """Each of the nodes is linked to each other and has its table."""
    for node in nodes:
        peers = node.peers()
        for other in nodes:
            row = peers.get(other.name)
            if row is None or row["node_status"] != "alive" or not row["link_up"]:
                return False
        ready = node.try_api("/readyz")
        if ready is None or ready[0] != 200:
            return False
    return True


def describe(nodes):
    return "; ".join(
        f"{node.name} sees " +
        ", ".join(f"{name}:{row['node_status']}{'' if row['link_up'] else ' no link'}"
                  f"{'' if row['reachable'] else ' unreachable'}"
                  f"{' via ' + row['relay'] if row['relay'] else ''}"
                  for name, row in sorted(node.peers().items()) if name != node.name)
        for node in nodes if node.process is not None)


def wait_complete(nodes, seconds=10):
    eventually(lambda: is_complete(nodes), seconds,
               lambda: f"all of {' '.join(n.name for n in nodes)} are linked and synced: "
               f"{describe(nodes)}")


def wait_routes(nodes, filters, seconds=5):
    """Until every node counts as many routes of each other as `filters[name]` says."""
    def same():
        for node in nodes:
            peers = node.peers()
            for name, count in filters.items():
                if name != node.name and peers.get(name, {}).get("routes") != count:
                    return False
        return True
    eventually(same, seconds, lambda: f"routes {filters}: " + str(
        {n.name: {p: r["routes"] for p, r in n.peers().items()} for n in nodes}))


class Watcher:
    """Notes when a node's view of another changes: [(seconds, row)], polled every 20 ms."""

    def __init__(self, viewer, seen):
        self.viewer, self.seen = viewer, seen
        self.changes = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        last = None
        while not self._ended.is_set():
            row = self.viewer.peers().get(self.seen.name)
            if row is not None:
                key = (row["node_status"], row["link_up"], row["reachable"], row["relay"],
                       row["incarnation"])
                if key != last:
                    self.changes.append((time.monotonic(), row))
                    last = key
            self._ended.wait(0.02)

    def first(self, condition, after):
        """Seconds from `after` to the first view like that; None: not seen."""
        for at, row in list(self.changes):
            if at >= after and condition(row):
                return at - after
        return None

    def wait(self, condition, after, seconds, what):
        eventually(lambda: self.first(condition, after) is not None, seconds,
                   lambda: f"{self.viewer.name} sees {self.seen.name} {what}; it saw " + ", ".join(
                       f"{r['node_status']} at {at - after:.2f} s" for at, r in self.changes))
        return self.first(condition, after)

    def wait_state(self, state, after, seconds):
        return self.wait(lambda row: row["node_status"] == state, after, seconds, state)

    def end(self):
        self._ended.set()
        self._thread.join()
