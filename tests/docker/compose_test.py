#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""deploy/docker-compose.yml as it is shipped: three nodes behind the load balancer.

One stack for all cases, under a project name, image names and ports of this run's own; it is taken
down at the end.  The base image is debian:bookworm-slim if this machine has it, otherwise one that
debootstrap makes of Debian's packages (kept for the next run, as layers of the build are).
"""
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import (Failure, ROOT, Skip, at_last, case, case_of, check, check_equal, folder,
                     free_port, main, patient, spawn, wait_for)

COMPOSE_FILE = os.path.join(ROOT, "deploy", "docker-compose.yml")
DEBIAN = "debian:bookworm-slim"
OUR_DEBIAN = "grapevine-test-debian:bookworm"
NODES = ("node1", "node2", "node3")
SUBSCRIBERS = 6
TOKEN = "a token of this test"
# What our layers may add to the base image.
IMAGE_BYTES_MAX = 40 << 20


def docker(*arguments, seconds=120):
    """The output of a docker command, which has to succeed."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False,
                          timeout=seconds, stdin=subprocess.DEVNULL)
    check(done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def inspect(what, template):
    return docker("inspect", "-f", template, what)


def has_image(name):
    return subprocess.run(["docker", "image", "inspect", name], capture_output=True,
                          check=False).returncode == 0


def compose_command():
    """docker-compose, or the plug-in of the same purpose."""
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    if subprocess.run(["docker", "compose", "version"], capture_output=True,
                      check=False).returncode == 0:
        return ["docker", "compose"]
    raise Failure("there is a docker engine but no docker-compose; deploy/install-deps docker")


def base_image():
    """The name of a Debian 12 to build on; made here if there is none."""
    if has_image(DEBIAN):
        return DEBIAN
    with open(os.path.join(tempfile.gettempdir(), f"grapevine-test-debian.{os.getuid()}.lock"), "w",
              encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not has_image(OUR_DEBIAN):
            make_debian()
    return OUR_DEBIAN


def make_debian():
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        raise Skip(f"no image {DEBIAN}, and making one takes root and debootstrap")
    print("# making a base image with debootstrap")
    root = os.path.join(folder("debian"), "root")
    made = subprocess.run(["debootstrap", "--variant=minbase", "bookworm", root],
                          capture_output=True, text=True, check=False, timeout=600)
    check(made.returncode == 0, f"debootstrap: {(made.stdout + made.stderr)[-500:]}")
    shutil.rmtree(os.path.join(root, "var/cache/apt/archives"))
    os.makedirs(os.path.join(root, "var/cache/apt/archives/partial"))
    with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
        subprocess.run(["docker", "import", "-", OUR_DEBIAN], stdin=tar.stdout, check=True,
                       stdout=subprocess.DEVNULL, timeout=300)
    check_equal(tar.returncode, 0, "tar of the base image: exit status")


# ---- the stack ----------------------------------------------------------------------------------


class Stack:
    """The project, built and up."""

    def __init__(self):
        self.project = f"gvtest{os.getpid()}x{int(time.time())}"
        self.image = f"{self.project}-node"
        self.balancer_image = f"{self.project}-balancer"
        self.mqtt_port = free_port()
        self.admin_ports = {name: free_port() for name in NODES}
        self.compose = compose_command()
        self.env = {**os.environ, "GRAPEVINE_BASE": base_image(), "GRAPEVINE_IMAGE": self.image,
                    "GRAPEVINE_HAPROXY_IMAGE": self.balancer_image,
                    "GRAPEVINE_ADMIN_TOKEN": TOKEN, "GRAPEVINE_MQTT_PORT": str(self.mqtt_port),
                    "GRAPEVINE_STATS_PORT": str(free_port()),
                    **{f"GRAPEVINE_ADMIN_PORT{name[-1]}": str(port)
                       for name, port in self.admin_ports.items()}}
        at_last(self.remove)

    def run(self, *arguments, seconds=120):
        done = subprocess.run([*self.compose, "-p", self.project, "-f", COMPOSE_FILE, *arguments],
                              env=self.env, capture_output=True, text=True, check=False,
                              timeout=seconds, stdin=subprocess.DEVNULL)
        said = (done.stdout + done.stderr)[-3000:]
        check(done.returncode == 0, f"{' '.join(arguments[:2])}: {said}")
        return done.stdout

    def remove(self):
        """Also after half a start; what is not there is not missed."""
        self.run("--profile", "more", "down", "-v", "--remove-orphans")
        # The layers stay for the next build under a name that is the same for all runs; another
        # run may be doing the same, so nothing here has to succeed.
        for image in (self.image, self.balancer_image):
            kept = image.replace(self.project, "grapevine-test")
            for command in (["rmi", kept], ["tag", image, kept], ["rmi", image]):
                subprocess.run(["docker", *command], capture_output=True, check=False)

    def container(self, service):
        return self.run("ps", "-q", service).strip()

    def is_healthy(self, service):
        return inspect(self.container(service), "{{.State.Health.Status}}") == "healthy"

    def get(self, node, path, token=TOKEN):
        """(status, JSON) of a node's published admin port; status 0 if nobody answers."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin_ports[node]}{path}")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=3) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, None
        except OSError:
            return 0, None

    def connections(self, node):
        return self.get(node, "/api/v1/status")[1]["connections"]["current"]

    def states(self, viewer):
        """Every node's state as `viewer` sees it."""
        status, answer = self.get(viewer, "/api/v1/cluster")
        return {entry["node"]: entry["state"] for entry in answer["nodes"]} if status == 200 else {}

    def is_whole(self):
        """Each node sees each other alive, over a link that is up."""
        for viewer in NODES:
            status, answer = self.get(viewer, "/api/v1/cluster")
            if status != 200 or len(answer["nodes"]) != len(NODES):
                return False
            for entry in answer["nodes"]:
                views = [view for view in entry["views"] if view["node"] != entry["node"]]
                if entry["state"] != "alive" or len(views) != len(NODES) - 1 or not all(
                        view["state"] == "alive" and view["link_up"] for view in views):
                    return False
        return True

    def publish(self, topic, text):
        """Whether mosquitto_pub, through the balancer, had its message acknowledged."""
        return subprocess.run(["mosquitto_pub", "-p", str(self.mqtt_port), "-t", topic, "-m", text,
                               "-q", "1"], capture_output=True, check=False, timeout=20,
                              stdin=subprocess.DEVNULL).returncode == 0


class Subscriber:
    """A mosquitto_sub through the balancer that has had its SUBACK."""

    def __init__(self, stack, topic):
        self.path = os.path.join(folder("subscriber"), "out")
        with open(self.path, "wb") as out:
            self.process = spawn(["stdbuf", "-oL", "mosquitto_sub", "-p", str(stack.mqtt_port), "-t",
                                  topic, "-q", "1", "-d", "-F", "message %p"], stdout=out, stderr=out)
        wait_for(lambda: "Subscribed" in self.said(), patient(10), "a subscription has its SUBACK")

    def said(self):
        with open(self.path, encoding="utf-8") as out:
            return out.read()

    def messages(self):
        return re.findall(r"^message (.*)$", self.said(), re.M)

    def connects(self):
        return self.said().count("sending CONNECT")


_stack = None


def stack():
    """The stack of all cases; why it is not there is said by the first case."""
    if _stack is None:
        raise Skip("there is no stack")
    return _stack


def start_stack():
    global _stack
    try:
        docker("info")
    except (FileNotFoundError, Failure) as why:
        raise Skip(f"no docker engine: {why}") from None
    made = Stack()
    made.run("build", seconds=1200)
    made.run("up", "-d")
    _stack = made


# ---- cases --------------------------------------------------------------------------------------


@case_of(seconds=1500)
def shipped_file_gives_three_healthy_nodes():
    start_stack()
    for node in NODES:
        wait_for(lambda: stack().is_healthy(node), patient(30), f"{node} is healthy")
        wait_for(lambda: stack().get(node, "/readyz", token=None)[0] == 200, patient(10),
                 f"{node} is ready")
    wait_for(stack().is_whole, patient(10), "all nodes see all others alive")


@case
def image_is_small_and_runs_as_nobody_special():
    check_equal(docker("exec", stack().container("node1"), "id", "-un"), "grapevine", "user")
    added = (int(inspect(stack().image, "{{.Size}}")) -
             int(inspect(stack().env["GRAPEVINE_BASE"], "{{.Size}}")))
    print(f"# the image adds {added / 1e6:.1f} MB to its base")
    check(added < IMAGE_BYTES_MAX, f"the image adds {added} bytes to its base")


@case
def admin_port_wants_the_token():
    check_equal(stack().get("node1", "/api/v1/cluster", token=None)[0], 401, "without a token")
    check_equal(stack().get("node1", "/api/v1/cluster", token="wrong")[0], 401, "a wrong token")
    check_equal(stack().get("node1", "/livez", token=None)[0], 200, "/livez without a token")


@case
def command_line_works_inside():
    shown = stack().run("exec", "-T", "node2", "grapevine", "cluster", "show")
    for node in NODES:
        check(re.search(rf"^{node} +alive ", shown, re.M), f"{node} is not alive in: {shown}")


@case
def clients_behind_the_balancer_reach_each_other():
    subscribers = [Subscriber(stack(), "crossing/#") for _ in range(SUBSCRIBERS)]
    counts = {node: stack().connections(node) for node in NODES}
    check_equal(counts, {node: SUBSCRIBERS // len(NODES) for node in NODES}, "clients of each node")
    sent = [f"message {i}" for i in range(12)]
    for text in sent:  # each by a connection of its own: to one node after the other
        check(stack().publish("crossing/roads", text), f"{text} was not acknowledged")
    for subscriber in subscribers:
        wait_for(lambda: sorted(subscriber.messages()) == sorted(sent), patient(15),
                 f"everything arrives everywhere, once: {subscriber.messages()}")


@case
def nodes_see_the_address_of_the_client():
    network = f"{stack().project}_default"
    seen = re.compile(r"peer='([0-9.]+):[0-9]+'")
    gateway = docker("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", network)
    # From this machine, a client comes from the network's gateway; what the node does not take, it
    # logs with the peer.
    subprocess.run(["bash", "-c", f"echo no MQTT >/dev/tcp/127.0.0.1/{stack().mqtt_port}"],
                   check=True, timeout=10)
    peers = wait_for(lambda: seen.findall(stack().run("logs", *NODES)), patient(15),
                     "a node logs the client it refuses")
    check_equal(set(peers), {gateway}, "addresses of refused clients")


@case
def stopping_one_container_disturbs_nobody_else():
    subscribers = [Subscriber(stack(), "steady/#") for _ in range(SUBSCRIBERS)]
    victim_clients = stack().connections("node2")
    check_equal(victim_clients, SUBSCRIBERS // len(NODES), "clients of node2")
    stopping = spawn(["docker", "stop", stack().container("node2")], stdout=subprocess.DEVNULL)
    acknowledged, number = [], 0
    ended = None
    while ended is None or time.monotonic() < ended + 4:
        number += 1
        if stack().publish("steady/stream", str(number)):
            acknowledged.append(str(number))
        if ended is None and stopping.poll() is not None:
            ended = time.monotonic()
    check_equal(stopping.returncode, 0, "docker stop: exit status")
    print(f"# {len(acknowledged)} of {number} messages acknowledged while node2 was stopped")
    steady = [subscriber for subscriber in subscribers if subscriber.connects() == 1]
    check_equal(len(steady), SUBSCRIBERS - victim_clients, "clients that were not disconnected")
    for subscriber in steady:
        # A publisher whose node went away before its PUBACK may have been heard all the same.
        wait_for(lambda: not set(acknowledged) - set(subscriber.messages()), patient(15),
                 "the clients of the other nodes get all that is acknowledged")
        got = subscriber.messages()
        check_equal(got, sorted(got, key=int), "messages in the order of sending")
        check_equal(len(set(got)), len(got), "each message once")
    wait_for(lambda: all(stack().states(viewer).get("node2") != "alive"
                         for viewer in ("node1", "node3")), 5, "the others know that node2 is gone")


@case
def stopped_container_comes_back_in():
    stack().run("start", "node2")
    wait_for(lambda: stack().is_healthy("node2"), patient(30), "node2 is healthy")
    wait_for(stack().is_whole, patient(15), "all nodes see all others alive")
    subscribers = []
    # The balancer gives new clients to the node that has the fewest.
    while not stack().connections("node2"):
        check(len(subscribers) < 4 * SUBSCRIBERS, "node2 gets no clients")
        subscribers.append(Subscriber(stack(), "again/#"))
        time.sleep(0.5)
    check(stack().publish("again/here", "hello"), "the message was not acknowledged")
    for subscriber in subscribers:
        wait_for(lambda: subscriber.messages() == ["hello"], patient(15), "the message arrives")


@case
def cluster_grows_by_two_nodes():
    stack().run("--profile", "more", "up", "-d", "--no-build", "--no-recreate", "--scale", "more=2")
    wait_for(lambda: sorted(stack().states("node1").values()) == ["alive"] * 5, patient(15),
             "five nodes are alive")
    added = stack().container("more").split()
    check_equal(len(added), 2, "new containers")

    def clients(container):
        text = docker("exec", container, "grapevine", "status", "--json", "--token", TOKEN)
        return json.loads(text)["connections"]["current"]
    subscribers = []
    while not all(clients(container) for container in added):
        check(len(subscribers) < 4 * SUBSCRIBERS, "the new nodes get no clients")
        subscribers.append(Subscriber(stack(), "grown/#"))
        time.sleep(0.5)
    check(stack().publish("grown/up", "hello"), "the message was not acknowledged")
    for subscriber in subscribers:
        wait_for(lambda: subscriber.messages() == ["hello"], patient(15), "the message arrives")


if __name__ == "__main__":
    main()
