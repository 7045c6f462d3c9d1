# SPDX-License-Identifier: Apache-2.0
"""What every system test stands on: real nodes on free ports, waiting with deadlines, cleaning up.

A system test is an executable tests/<area>/<subject>_test.py of this shape:

    #!/usr/bin/python3
    # SPDX-License-Identifier: Apache-2.0
    import os, sys
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from harness import Cluster, case, check, main, wait_for

    @case
    def a_killed_node_is_seen_dead():
        cluster = Cluster(3)
        cluster.start()
        cluster[0].kill9()
        wait_for(lambda: cluster[1].sees(cluster[0]) == "dead", 3, "node 2 sees node 1 dead")

    if __name__ == "__main__":
        main()

It prints one line per case, which is all that tests/run reads of it:

    ok NAME          not ok NAME: why          skip NAME: why

Run it by hand with `GRAPEVINE_BIN=build/debug/bin tests/area/subject_test.py [PART-OF-A-NAME...]`.

Environment: GRAPEVINE_BIN is the folder with grapevined and grapevine (default: the first that
exists of build/release/bin and build/debug/bin).  GRAPEVINE_TEST_PATIENCE multiplies all deadlines
that are not themselves what is tested (sanitizers are slow).  GRAPEVINE_TEST_KEEP keeps the
directories of failed cases.  GRAPEVINE_TEST_SHARDS is the number of shards of nodes for which a case
does not say it (default: 2, whatever the machine has, so that cases mean the same everywhere).

What a case has started ends with it, however it ends: nodes die with this process even if it is
killed.  A case fails if a node of its own ended by itself or a sanitizer spoke in a node's log.
"""
import contextlib
import ctypes
import glob
import http.client
import json
import os
import random
import re
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PATIENCE = float(os.environ.get("GRAPEVINE_TEST_PATIENCE", "1"))
SHARDS = os.environ.get("GRAPEVINE_TEST_SHARDS", "2")
CASE_SECONDS = 120
SLOW_SECONDS = 5  # a case that takes longer says so
LOG_TAIL_LINES = 40
DESCRIPTORS_MAX = 65536

# Below the range the kernel takes the ports of outgoing connections from.
PORTS = range(10000, 32000)

# Of nodes in a cluster.  After the usual half second SUBACK goes out without the word of a node that
# is only slow, and what is published there then is lost for a reason that is not the case's.
SUBACK_WAITS = {"cluster.suback_wait_ms": 30000}

PR_SET_PDEATHSIG = 1
SANITIZER = re.compile(r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error: ")


class Failure(AssertionError):
    """The case fails, for the reason given."""


class Skip(Exception):
    """The case cannot run here, for the reason given; for what the machine lacks, not for flakes."""


def check(condition, why):
    if not condition:
        raise Failure(why)


def check_equal(actual, expected, what):
    check(actual == expected, f"{what}: expected {expected!r}, got {actual!r}")


# ---- waiting ------------------------------------------------------------------------------------


def wait_for(condition, seconds, what, interval=0.02):
    """Waits until condition() is true and returns what it gave; a Failure after `seconds`.

    `seconds` is taken as it stands: a promise of the product.  For "this surely happens some time"
    use patient(seconds).
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise Failure(f"not within {seconds:g} s: {what}")
        time.sleep(interval)


def patient(seconds):
    """A deadline for what is not measured, longer where everything is slow."""
    return seconds * PATIENCE


def surely(seconds):
    """Sleeps until what was due after `seconds` has surely happened, on a busy machine too."""
    time.sleep(seconds + patient(0.4))


def descriptors_raise():
    """As many descriptors as this process may have, within reason; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return DESCRIPTORS_MAX
    wanted = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    return max(soft, wanted)


# ---- ports and programs -------------------------------------------------------------------------

_port_locks = []


def free_port():
    """A TCP port of 127.0.0.1 that nobody listens on and no other test run takes until we end.

    An abstract socket with the port's number in its name is the lock: the kernel drops it when this
    process ends, and it is shared by exactly those who share the ports (a network namespace).
    """
    while True:
        port = random.SystemRandom().choice(PORTS)
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            lock.bind(f"\0grapevine-test-port-{port}")
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _port_locks.append(lock)
        return port


def program(name):
    """The path of grapevined or grapevine."""
    given = os.environ.get("GRAPEVINE_BIN")
    folders = [given] if given else [os.path.join(ROOT, "build", preset, "bin")
                                     for preset in ("release", "debug")]
    for folder in folders:
        path = os.path.join(os.path.abspath(folder), name)
        if os.access(path, os.X_OK):
            return path
    raise Failure(f"{name} is not in {' or '.join(folders)}; build it, or set GRAPEVINE_BIN")


# ---- what a case owns ---------------------------------------------------------------------------


class _Owned:
    """The processes and directories of the running case."""

    def __init__(self):
        self.nodes = []
        self.processes = []
        self.folders = []
        self.at_end = []

    def problems(self):
        return [problem for node in self.nodes for problem in node.problems()]

    def release(self, keep_folders):
        for action in reversed(self.at_end):
            action()
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
        for folder in self.folders:
            if keep_folders:
                print(f"# kept: {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)
        self.__init__()


_owned = _Owned()
_at_last = []


def at_end(action):
    """Calls action() when the case ends; last given, first called."""
    _owned.at_end.append(action)


def at_last(action):
    """Calls action() after the last case, for what several cases share; last given, first called."""
    _at_last.append(action)


def folder(name="case"):
    """A new empty directory that goes with the case."""
    path = tempfile.mkdtemp(prefix=f"grapevine-{name}-")
    _owned.folders.append(path)
    return path


def _die_with(parent):
    """To be called in the child: it gets SIGKILL when its parent thread ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def spawn(command, **options):
    """subprocess.Popen whose process ends with the case."""
    if threading.current_thread() is threading.main_thread():
        parent = os.getpid()
        options.setdefault("preexec_fn", lambda: _die_with(parent))
    options.setdefault("stdin", subprocess.DEVNULL)
    process = subprocess.Popen(command, **options)
    _owned.processes.append(process)
    return process


# ---- a node -------------------------------------------------------------------------------------


class Node:
    """One grapevined on loopback.  Ports and data directory stay the same over restarts.

    listen: URLs to listen on (default: tcp:// on a free port, which is `port`); cluster: whether it
    has a cluster port; seeds: list of HOST:PORT; settings: {"key": value} for --set; env: added to
    the environment.  Change these between stop() and start() to configure it anew.
    """

    def __init__(self, name="node1", *, cluster=False, seeds=(), settings=None, env=None,
                 listen=None, data=None, launcher=()):
        self.name = name
        self.port = free_port()
        self.admin_port = free_port()
        self.cluster_port = free_port() if cluster else None
        self.seeds = list(seeds)
        self.settings = {"node.shards": SHARDS, **(settings or {})}
        self.env = dict(env or {})
        self.listen = list(listen) if listen is not None else [f"tcp://127.0.0.1:{self.port}"]
        self.data = data or os.path.join(folder(name), "data")
        self.log_path = os.path.join(folder(name), "log")
        self.launcher = list(launcher)
        self.process = None
        self._expected_to_end = True
        _owned.nodes.append(self)

    def __str__(self):
        return self.name

    def command(self):
        command = [*self.launcher, program("grapevined"), "--node", self.name, "--data", self.data,
                   "--admin", self.admin_address]
        for url in self.listen:
            command += ["--listen", url]
        if self.cluster_port:
            command += ["--cluster", self.cluster_address]
        for seed in self.seeds:
            command += ["--seed", seed]
        for key, value in self.settings.items():
            command += ["--set", f"{key}={value}"]
        return command

    @property
    def admin_address(self):
        return f"127.0.0.1:{self.admin_port}"

    @property
    def cluster_address(self):
        return f"127.0.0.1:{self.cluster_port}"

    @property
    def pid(self):
        return self.process.pid

    # -- life

    def start(self, wait=True):
        """Starts it; with wait, returns when /readyz says 200."""
        check(not self.is_running(), f"{self} is running already")
        with open(self.log_path, "ab") as log:
            self.process = spawn(self.command(), stdout=log, stderr=log,
                                 env={**os.environ, **self.env})
        self._expected_to_end = False
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, seconds=None):
        wait_for(self._is_ready_or_gone, seconds or patient(30), f"{self} is ready")

    def _is_ready_or_gone(self):
        check(self.is_running(), f"{self} ended with status {self.process.returncode}")
        return self.is_ready()

    def stop(self, seconds=None):
        """SIGTERM, and a clean end; returns how long it took."""
        begun = time.monotonic()
        self.terminate()
        try:
            status = self.process.wait(seconds or patient(20))
        except subprocess.TimeoutExpired:
            raise Failure(f"{self} has not ended after SIGTERM") from None
        check_equal(status, 0, f"{self} after SIGTERM: exit status")
        return time.monotonic() - begun

    def terminate(self):
        """SIGTERM, without waiting for the end."""
        self._expected_to_end = True
        self.process.terminate()

    def kill9(self):
        self._expected_to_end = True
        self.process.kill()
        self.process.wait()

    def wait_end(self, seconds=None):
        """For a node that is to end by itself: its exit status."""
        self._expected_to_end = True
        try:
            return self.process.wait(seconds or patient(20))
        except subprocess.TimeoutExpired:
            raise Failure(f"{self} has not ended") from None

    def _is_stopped(self):
        states = set()
        for path in glob.glob(f"/proc/{self.process.pid}/task/*/stat"):
            with contextlib.suppress(OSError), open(path, encoding="ascii") as stat:
                states.add(stat.read().rpartition(")")[2].split()[0])
        return states == {"T"}

    def pause(self):
        """SIGSTOP; none of its threads runs any more."""
        self.process.send_signal(signal.SIGSTOP)
        wait_for(self._is_stopped, patient(10), f"{self} stops")

    def cont(self):
        """SIGCONT"""
        self.process.send_signal(signal.SIGCONT)

    def hangup(self):
        """SIGHUP"""
        self.process.send_signal(signal.SIGHUP)

    def restart(self, wait=True):
        if self.is_running():
            self.stop()
        return self.start(wait)

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    # -- the admin port

    def http(self, path, method="GET", body=None, headers=None, seconds=5):
        """(status, body as bytes); OSError or http.client.HTTPException if there is no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=seconds)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def api(self, path):
        """The JSON of a path such as /api/v1/status, which has to be a 200."""
        status, body = self.http(path)
        check_equal(status, 200, f"{self}: GET {path}")
        return json.loads(body)

    def is_ready(self):
        try:
            return self.http("/readyz", seconds=1)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def sees(self, other):
        """The state of another node as this one sees it, or None: "alive", "suspect", "dead"."""
        for entry in self.api("/api/v1/nodes")["data"]:
            if entry["node"] == str(other):
                return entry["node_status"]
        return None

    def sees_alive_and_linked(self, others):
        """Whether it sees all of them alive, over links of its own."""
        try:
            entries = {entry["node"]: entry for entry in self.api("/api/v1/nodes")["data"]}
        except (OSError, http.client.HTTPException, Failure):
            return False
        found = [entries.get(str(other)) for other in others if other is not self]
        return all(entry and entry["node_status"] == "alive" and entry["link_up"]
                   for entry in found)

    # -- its log

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as log:
                return log.read()
        except FileNotFoundError:
            return ""

    def wait_log(self, pattern, seconds=None):
        """Waits until the log has a match of the regular expression; returns the match."""
        return wait_for(lambda: re.search(pattern, self.log()), seconds or patient(10),
                        f"{self} logs {pattern!r}")

    def problems(self):
        """What no case may end with."""
        if not self._expected_to_end and not self.is_running():
            yield f"{self} ended by itself with status {self.process.returncode}"
        found = SANITIZER.search(self.log())
        if found:
            yield f"{self}: {found.group(0)}"

    def print_log_tail(self):
        lines = self.log().splitlines()
        speaks = next((i for i, line in enumerate(lines) if SANITIZER.search(line)), None)
        first = max(0, len(lines) - LOG_TAIL_LINES) if speaks is None else speaks
        print(f"# log of {self}, from line {first + 1} of {len(lines)}:")
        for line in lines[first:first + 2 * LOG_TAIL_LINES]:
            print(f"#   {line}")


class Cluster:
    """Nodes node1, node2, ... that know the first two as seeds and share a secret."""

    def __init__(self, count, *, settings=None, env=None, name=None):
        secret = os.path.join(folder("secret"), "secret")
        with open(os.open(secret, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="ascii") as out:
            out.write(secrets.token_hex(32) + "\n")
        shared = {"cluster.secret_file": secret, **SUBACK_WAITS}
        if name:
            shared["cluster.name"] = name
        self.nodes = [Node(f"node{i + 1}", cluster=True, settings={**shared, **(settings or {})},
                           env=env) for i in range(count)]
        for node in self.nodes:
            node.seeds = [seed.cluster_address for seed in self.nodes[:2] if seed is not node]

    def __getitem__(self, index):
        return self.nodes[index]

    def __iter__(self):
        return iter(self.nodes)

    def __len__(self):
        return len(self.nodes)

    def start(self):
        """Starts all of them; returns when each is ready and linked with each."""
        for node in self.nodes:
            node.start(wait=False)
        for node in self.nodes:
            node.wait_ready()
        self.wait_whole()
        return self

    def wait_whole(self, seconds=None):
        """Waits until all running nodes see each other alive over links of their own."""
        running = [node for node in self.nodes if node.is_running()]
        wait_for(lambda: all(node.sees_alive_and_linked(running) for node in running),
                 seconds or patient(20), "all nodes are linked")

    def stop(self):
        for node in self.nodes:
            if node.is_running():
                node.stop()


# ---- cases --------------------------------------------------------------------------------------

_cases = []


def case(function):
    """Marks a test case; its name is the function's, a sentence."""
    _cases.append((function, CASE_SECONDS))
    return function


def case_of(seconds):
    """Like @case, for one that may take longer: @case_of(seconds=300)."""
    def mark(function):
        _cases.append((function, seconds))
        return function
    return mark


class _Ended(BaseException):
    """A signal told us to end; no `except Exception` on the way may keep it."""


def _on_signal(number, _frame):
    raise _Ended(signal.Signals(number).name)


def _on_alarm(_number, _frame):
    raise Failure("the case took too long")


def _run(function, seconds):
    """One case; the word for its line, and why."""
    signal.alarm(max(1, int(patient(seconds))))
    try:
        function()
        problems = _owned.problems()
        return ("not ok", "; ".join(problems)) if problems else ("ok", None)
    except Skip as reason:
        return "skip", str(reason)
    except Failure as failure:
        place = traceback.extract_tb(failure.__traceback__)[1:]
        where = next((f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in place
                      if frame.filename != __file__), "?")
        why = "; ".join([str(failure), *_owned.problems()])
        return "not ok", f"{why} ({where})"
    except Exception as error:  # any other trouble is a failed case too, with its traceback
        for line in traceback.format_exc().splitlines():
            print(f"#   {line}")
        return "not ok", f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)


def main():
    """Runs the cases whose names contain one of the arguments; without any, all.  Exits."""
    sys.stdout.reconfigure(line_buffering=True)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _on_signal)
    signal.signal(signal.SIGALRM, _on_alarm)
    descriptors_raise()
    wanted = sys.argv[1:]
    failed = 0
    try:
        for function, seconds in _cases:
            name = function.__name__
            if wanted and not any(part in name for part in wanted):
                continue
            begun = time.monotonic()
            word, why = _run(function, seconds)
            took = time.monotonic() - begun
            if took > SLOW_SECONDS:
                print(f"# {name}: {took:.1f} s")
            if word == "not ok":
                failed += 1
                for node in _owned.nodes:
                    node.print_log_tail()
            keeps = bool(os.environ.get("GRAPEVINE_TEST_KEEP"))
            _owned.release(keep_folders=keeps and word == "not ok")
            print(f"{word} {name}" + (f": {' '.join(why.split())}" if why is not None else ""))
    except _Ended as ended:
        print(f"# ended by {ended}")
        failed += 1
    finally:
        signal.alarm(0)
        _owned.release(keep_folders=False)
        for action in reversed(_at_last):
            action()
    sys.exit(1 if failed else 0)
