#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Garbage, strangers and mistakes: a clear refusal, never a crash, nobody else disturbed."""
import contextlib
import os
import random
import re
import shutil
import socket
import subprocess
import time

import peer
from client import Client, end_streams, streams
from harness import Failure, Skip, case, check, folder, free_port, main, patient, program
from peer import Peer, frame, hello
from rig import Member, cluster, describe, eventually, figure, wait_tables, wait_whole


@contextlib.contextmanager
def undisturbed(pause_max=2):
    """A cluster with traffic that must not notice anything."""
    with cluster() as nodes:
        n1, n2, n3 = nodes
        between = streams([(n1, n2), (n2, n3), (n3, n1)])
        yield nodes
        check(all(node.is_running() for node in nodes), "a node has ended")
        wait_whole(nodes)
        names = {name for node in nodes for name in node.peers()
                 if node.peers()[name]["node_status"] in ("alive", "suspect")}
        check(names == {"n1", "n2", "n3"}, f"there are members {sorted(names)}")
        end_streams(between, "meanwhile", pause_max=pause_max)


def sum_of(nodes, counter):
    return sum(node.counter(counter) for node in nodes)


# ---- the cluster port ---------------------------------------------------------------------------


def shots():
    """(what, bytes) for connections that have not proved anything."""
    dice = random.Random(1)
    valid = frame(peer.HELLO, hello())
    yield "an HTTP request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    yield "a TLS hello", bytes.fromhex("16030100f6010000f20303") + dice.randbytes(240)
    yield "an MQTT connect", b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a"
    yield "zeros", bytes(5000)
    yield "nothing", b""
    yield "half a header", valid[:7]
    yield "half a hello", valid[:40]
    yield "an announced size of 4 GiB", frame(peer.HELLO, b"", size=0xFFFFFFFF) + bytes(10000)
    yield "a size beyond the handshake's limit", frame(peer.HELLO, bytes(3000))
    yield "a wrong checksum", frame(peer.HELLO, hello(), crc=1)
    yield "a wrong frame version", frame(peer.HELLO, hello(), version=9)
    yield "flags nobody knows", frame(peer.HELLO, hello(), flags=1)
    yield "an empty hello", frame(peer.HELLO, b"")
    yield "a hello of garbage", frame(peer.HELLO, dice.randbytes(200))
    yield "a proof before the hello", frame(peer.PROOF, dice.randbytes(34))
    yield "a heartbeat before the hello", frame(peer.HEARTBEAT, b"")
    yield "two hellos", valid + valid
    yield "a short node id", frame(peer.HELLO, hello(node_id=b"1234"))
    yield "a short challenge", frame(peer.HELLO, hello(challenge=b"1234"))
    yield "no name", frame(peer.HELLO, hello(name=""))
    yield "a name with a line break", frame(peer.HELLO, hello(name="a\nERROR b='"))
    yield "a name of 1000 letters", frame(peer.HELLO, hello(name="n" * 1000))
    yield "a name that is no UTF-8", frame(peer.HELLO, hello(name=b"\xff\xfe"))
    for i in range(40):
        yield f"random bytes {i}", dice.randbytes(dice.randrange(1, 4000))
    for i in range(40):
        flipped = bytearray(valid)
        flipped[dice.randrange(len(flipped))] ^= 1 << dice.randrange(8)
        yield f"a hello with bit flip {i}", bytes(flipped)


@case
def garbage_on_the_cluster_port():
    with undisturbed() as nodes:
        for node in nodes[:2]:
            stays = []
            for what, data in shots():
                stranger = Peer(node)
                stranger.send(data)
                stays.append((what, stranger))
                if len(stays) % 20 == 0:  # some end at once, some wait for more: not all at a time
                    end_all(node, stays)
            end_all(node, stays)
        figure(f"{sum_of(nodes, 'cluster_garbage_total')} connections counted as garbage, "
               f"{sum_of(nodes, 'cluster_frames_bad_total')} as damaged frames")
        check(sum_of(nodes, "cluster_garbage_total") > 20, "the garbage was not counted")
        for node in nodes:
            check(len(node.log()) < 100_000, f"{node.name} wrote {len(node.log())} bytes of log")
            check("ERROR b=" not in [line[25:33] for line in node.log().splitlines()],
                  "a stranger wrote a log line of his own")


def end_all(node, stays):
    """The node ends each of the connections, at the latest when the handshake expires."""
    for what, stranger in stays:
        try:
            stranger.receive_refusal()
        except TimeoutError:
            raise Failure(f"{node.name} keeps a connection that sent {what}") from None
        stranger.close()
    stays.clear()


@case
def refusals_say_why():
    with undisturbed() as (n1, _, _):
        own_id = bytes.fromhex(n1.api("/api/v1/status")["id"])
        for about, words in (
                ({"cluster": "other"}, "another cluster"),
                ({"protocol": (2, 99)}, "protocol"),
                ({"protocol": (0, 0)}, "protocol"),
                ({"node_id": own_id}, "another live process uses this node id|node id")):
            stranger = Peer(n1)
            stranger.send(frame(peer.HELLO, hello(**about)))
            text = stranger.receive_refusal()
            check(re.search(words, text), f"{about}: the node says '{text}'")
            check("\n" not in text, "more than one line")
        for secret, words in (("wrong", "secret"), (None, "secret")):
            stranger = Peer(n1)
            own = hello()
            stranger.send(frame(peer.HELLO, own))
            _, theirs = stranger.receive()
            stranger.send(frame(peer.PROOF, peer.proof(secret, "dialer", own, theirs)
                                if secret else b""))
            text = stranger.receive_refusal()
            check(re.search(words, text), f"secret {secret}: the node says '{text}'")


@case
def proofs_cannot_be_used_again():
    with undisturbed() as (n1, _, _):
        own = hello()
        first = Peer(n1)
        first.send(frame(peer.HELLO, own))
        _, theirs = first.receive()
        old = peer.proof("x", "dialer", own, theirs)
        again = Peer(n1)
        again.send(frame(peer.HELLO, own))
        again.receive()
        again.send(frame(peer.PROOF, old))
        check("secret" in again.receive_refusal(), "an old proof was not refused")
        # The node's own proof, sent back to it.
        mirror = Peer(n1)
        mirror.send(frame(peer.HELLO, own))
        _, theirs = mirror.receive()
        mirror.send(frame(peer.PROOF, peer.proof("x", "acceptor", own, theirs)))
        check("secret" in mirror.receive_refusal(), "a proof of the other role was not refused")
        first.close()


@case
def garbage_from_a_member():
    """Who knows the secret and then talks nonsense loses the link and nothing else happens."""
    with undisturbed() as nodes:
        dice = random.Random(2)
        n1 = nodes[0]
        for kind in peer.KINDS:
            for body in (b"", b"\xff" * 20, dice.randbytes(64), peer.blob(1, b"short"),
                         peer.blob(1, dice.randbytes(16)) + dice.randbytes(40),
                         peer.number(1, 1 << 63) + peer.number(4, 1 << 62)):
                nonsense = Peer(n1).join(name="nonsense", node_id=b"nonsense" * 2,
                                         boot_id=dice.getrandbits(63), start_counter=int(time.time()))
                nonsense.send(frame(kind, body))
                nonsense.close()
        huge = Peer(n1).join(name="nonsense", node_id=b"nonsense" * 2)
        huge.send(frame(peer.FORWARD, b"", size=0x7FFFFFFF) + bytes(1000))
        huge.receive_refusal()
        unknown = Peer(n1).join(name="nonsense", node_id=b"nonsense" * 2)
        unknown.send(frame(200, b"from a newer version"))
        check(unknown.receive() is not None, "a frame of an unknown kind ended the link")
        unknown.close()
        eventually(lambda: all(node.sees("nonsense") in (None, "dead", "left") for node in nodes), 10,
                   lambda: f"the stranger is dead: {describe(nodes)}")


@case
def strangers_do_not_keep_members_out():
    """200 connections that say nothing; meanwhile a node restarts."""
    with cluster() as nodes:
        strangers = [Peer(node) for node in nodes[:2] for _ in range(200)]
        nodes[2].kill9()
        nodes[2].start(wait=False)
        took = wait_whole(nodes, 15)
        figure(f"with 400 silent strangers at the door, a node is back after {took:.2f} s")
        for stranger in strangers:
            stranger.close()


# ---- nodes that do not fit ----------------------------------------------------------------------


def outsider(nodes, **settings):
    """A whole node that wants to join and must not."""
    node = Member("outsider", {"cluster.secret": "x", "cluster.ready_wait_ms": 1000, **settings})
    node.seeds = [other.cluster_address for other in nodes]
    node.start(wait=False)
    return node


def stays_out(nodes, node, pattern):
    """Both sides say why, in bounded words; the outsider goes on serving on its own."""
    begun = time.monotonic()
    node.wait_log(pattern)
    eventually(lambda: any(re.search(pattern, member.log()) for member in nodes), 10,
               lambda: f"a member logs '{pattern}'")
    time.sleep(1)
    node.wait_ready()
    for member in nodes:
        check(member.sees("outsider") is None, f"{member.name} lists the outsider")
    with Client(node) as own:
        own.subscribe("alone")
        own.publish("alone", b"x", 1).wait()
    lines = [line for line in node.log().splitlines() if re.search(pattern, line)]
    seconds = time.monotonic() - begun
    check(len(lines) <= 10 * max(1, seconds), f"{len(lines)} lines about it in {seconds:.1f} s")
    figure(f"the outsider says: {lines[0][25:]}")
    node.stop()


@case
def wrong_secret():
    with undisturbed() as nodes:
        stays_out(nodes, outsider(nodes, **{"cluster.secret": "wrong"}), "link_refused.*secrets differ")


@case
def no_secret():
    with undisturbed() as nodes:
        stays_out(nodes, outsider(nodes, **{"cluster.secret": "", "cluster.insecure": "true"}),
                  "link_refused.*cluster secret")


@case
def another_cluster():
    with undisturbed() as nodes:
        stays_out(nodes, outsider(nodes, **{"cluster.name": "elsewhere"}),
                  "link_refused.*another cluster")


@case
def a_second_node_with_the_same_identity():
    """Somebody copies a data directory. The others keep one of the two, and say so."""
    with cluster() as nodes:
        n1, n2, n3 = nodes
        n3.stop()
        copy = Member("n3", n3.settings)
        shutil.copytree(n3.data, copy.data)
        copy.seeds = [node.cluster_address for node in nodes]
        n3.start()
        wait_whole(nodes)
        between = streams([(n1, n2), (n2, n1)])
        n3_client = Client(n3)
        n3_client.subscribe("for/n3")
        copy.start(wait=False)
        eventually(lambda: sum_of([n1, n2], "cluster_identity_conflicts_total") > 0, 10,
                   lambda: "the conflict is counted")
        time.sleep(3)
        for node in (n1, n2, n3, copy):
            check(node.is_running(), f"{node.name} has ended")
        said = [line for node in (n1, n2) for line in node.log().splitlines()
                if re.search("identity|node id", line)]
        check(said, "nobody logs it")
        check(len(said) < 50, f"{len(said)} lines about it in 3 s")
        figure(f"the others say: {said[0][25:]}")
        end_streams(between, "two of one identity", pause_max=2)
        copy.stop()
        wait_whole(nodes, 15)
        again = Client(n3)
        again.subscribe("for/n3")
        wait_tables(nodes)
        with Client(n1) as publisher:
            publisher.publish("for/n3", b"x", 1).wait()
        eventually(lambda: len(again.messages) == 1, 10, lambda: "n3 is reached after the copy has gone")


# ---- starting with mistakes ---------------------------------------------------------------------


def refuses_to_start(command, pattern, seconds=15, **options):
    """Ends by itself with an error of one line that says what is wrong."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=patient(seconds),
                          check=False, **options)
    said = [line for line in done.stderr.splitlines() if " INFO " not in line]
    figure(f"{' | '.join(said)}")
    check(done.returncode == 1, f"exit status {done.returncode}: {done.stderr[-500:]}")
    check(len(said) == 1, f"{len(said)} lines of error: {said}")
    check(re.search(pattern, said[0]), f"'{said[0]}' does not say '{pattern}'")


def single(data=None, **changes):
    """The command of a node that would start, with some options changed."""
    options = {"node": "single", "data": data or os.path.join(folder("single"), "data"),
               "listen": f"tcp://127.0.0.1:{free_port()}", "cluster": f"127.0.0.1:{free_port()}",
               "admin": f"127.0.0.1:{free_port()}", "set": "cluster.secret=x", **changes}
    return [program("grapevined")] + [word for key, value in options.items()
                                      for word in ("--" + key, value)]


@case
def addresses_in_use():
    with undisturbed() as (n1, _, _):
        for option, port, value in (("listen", n1.port, f"tcp://127.0.0.1:{n1.port}"),
                                    ("cluster", n1.cluster_port, n1.cluster_address),
                                    ("admin", n1.admin_port, n1.admin_address)):
            refuses_to_start(single(**{option: value}), f"127.0.0.1:{port}.*in use")


@case
def addresses_that_are_not_ours():
    for option, value in (("listen", "tcp://203.0.113.1:1883"), ("cluster", "203.0.113.1:7883"),
                          ("admin", "203.0.113.1:18083")):
        extra = {"set": "auth.anonymous=true"} if option == "listen" else {}
        command = single(**{option: value}) + (["--set", "auth.anonymous=true"] if extra else [])
        refuses_to_start(command, "203.0.113.1")


@case
def data_directory_of_a_running_node():
    with undisturbed() as (n1, _, _):
        refuses_to_start(single(data=n1.data), re.escape(n1.data) + ".*in use")


@case
def data_directory_without_permission():
    if os.geteuid() != 0:
        raise Skip("becoming another user needs root")
    base = folder("foreign")
    os.chmod(base, 0o755)
    drop = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    # The program itself has to be within the other user's reach.
    shutil.copy(program("grapevined"), base)
    own = os.path.join(base, "own")
    os.mkdir(own, 0o700)
    for data in (own, os.path.join(base, "new")):
        command = single(data=data)
        command[0] = os.path.join(base, "grapevined")
        refuses_to_start(drop + command, f"permission.*{data}")


@case
def data_directory_that_is_none():
    base = folder("odd")
    plain = os.path.join(base, "plain")
    with open(plain, "w", encoding="ascii") as out:
        out.write("x")
    refuses_to_start(single(data=plain), "not a directory")
    refuses_to_start(single(data=os.path.join(base, "missing", "data")), "parent is missing")


@case
def damaged_data_directory():
    data = os.path.join(folder("damaged"), "data")
    os.mkdir(data)
    with open(os.path.join(data, "data.mdb"), "wb") as out:
        out.write(random.Random(3).randbytes(50_000))
    refuses_to_start(single(data=data), re.escape(data) + ".*joins as a new one$")


@case
def configuration_mistakes_name_file_line_and_key():
    path = os.path.join(folder("config"), "grapevine.conf")
    for text, line, words in (
            ("node {\n  name = a\n  colour = red\n}\n", 3, "node.colour.*unknown|unknown.*node.colour"),
            ("mqtt {\n\n  receive_max = many\n}\n", 3, "mqtt.receive_max.*(number|integer)"),
            ("mqtt {\n  receive_max = 70000\n}\n", 2, "mqtt.receive_max.*65535"),
            ("mqtt {\n  retain_available = 7\n}\n", 2, "mqtt.retain_available.*true"),
            ("cluster {\n  heartbeat_ms = [1, 2]\n}\n", 2, "cluster.heartbeat_ms"),
            ("log {\n  level = loud\n}\n", 2, "log.level.*(error|warn|info|debug)"),
            ("node {\n  name = a\n", None, "")):
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        where = re.escape(path) + (f":{line}\\b.*({words})" if line else "")
        refuses_to_start(single() + ["-c", path], where)
    refuses_to_start(single() + ["-c", path + ".missing"], re.escape(path + ".missing"))
    refuses_to_start(single() + ["--set", "mqtt.receive_max=x"], "mqtt.receive_max")
    refuses_to_start(single() + ["--nonsense"], "nonsense")


# ---- the admin and the client port --------------------------------------------------------------


def raw_answers(node, port, data, seconds=8):
    """All that comes back until the node ends the connection; None: it keeps it."""
    connection = node.connect(port, patient(5))
    connection.settimeout(patient(seconds))
    answer = b""
    try:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while True:
            chunk = connection.recv(65536)
            if not chunk:
                return answer
            answer += chunk
    except TimeoutError:
        return None
    except OSError:  # it was faster: reset while we were still sending, say
        return answer
    finally:
        connection.close()


@case
def garbage_on_the_admin_port():
    dice = random.Random(4)
    with undisturbed() as nodes:
        n1 = nodes[0]
        requests = [
            b"", b"\r\n\r\n", b"GET", b"GET / HTTP/9.9\r\n\r\n", b"NONSENSE / HTTP/1.1\r\n\r\n",
            b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"".join(b"H%d: x\r\n" % i for i in range(20_000)) + b"\r\n",
            b"GET / HTTP/1.1\r\nHost: " + b"h" * 100_000 + b"\r\n\r\n",
            b"POST /api/v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nx",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\nx",
            b"GET /%00%ff/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
            frame(peer.HELLO, hello()), bytes(5000)]
        requests += [dice.randbytes(dice.randrange(1, 5000)) for _ in range(50)]
        for request in requests:
            answer = raw_answers(n1, n1.admin_port, request)
            check(answer is not None, f"the connection is kept after {request[:40]}")
            check(b"200 OK" not in answer or b"%00" in request, f"200 for {request[:40]}")
            check(b"root:" not in answer, f"a file for {request[:40]}")
        check(n1.http("/nowhere")[0] == 404, "/nowhere")
        check(n1.http("/api/v1/status", method="DELETE")[0] == 405, "DELETE /api/v1/status")
        # Slow and silent connections, more than there is room for: health checks still get through.
        idle = [n1.connect(n1.admin_port) for _ in range(200)]
        for connection in idle[::2]:
            connection.sendall(b"GET /livez HTT")
        begun = time.monotonic()
        check(n1.http("/livez", seconds=10)[0] == 200, "/livez beside 200 silent connections")
        figure(f"/livez beside 200 silent connections: {(time.monotonic() - begun) * 1000:.0f} ms")
        for connection in idle:
            connection.close()


@case
def garbage_on_the_client_port():
    dice = random.Random(5)
    connect = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02ab"
    with undisturbed() as nodes:
        n1 = nodes[0]
        for data in [b"", b"GET / HTTP/1.1\r\n\r\n", bytes(5000), connect + connect,
                     connect + b"\x32\xff\xff\xff\x7f" + bytes(5000), connect + b"\x30\xff\xff\xff\xff",
                     connect[:9], frame(peer.HELLO, hello())] + [
                         connect + dice.randbytes(dice.randrange(1, 3000)) for _ in range(100)] + [
                             dice.randbytes(dice.randrange(1, 3000)) for _ in range(100)]:
            check(raw_answers(n1, n1.port, data) is not None, f"kept after {data[:40]}")


if __name__ == "__main__":
    main()
