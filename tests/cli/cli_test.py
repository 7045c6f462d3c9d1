#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The `grapevine` command from outside.

pub and sub run against Debian's mosquitto, so that our client is not only tested with our own
server, and against small servers of this file that break the rules.  status and cluster show run
against an admin port of this file.
Run:  tests/cli/cli_test.py PATH/TO/grapevine [unittest arguments]
"""
import base64
import hashlib
import hmac
import http.server
import json
import os
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import free_port, patient, wait_for  # noqa: E402

GRAPEVINE = ""
NODE = ""
VERSIONS = ("3.1", "3.1.1", "5")


def run(*arguments, stdin=b"", timeout=30, env=None):
    """Runs the command to its end: (exit status, stdout, stderr)."""
    done = subprocess.run([GRAPEVINE, *map(str, arguments)], input=stdin, capture_output=True,
                          timeout=patient(timeout), check=False, env=env)
    return done.returncode, done.stdout, done.stderr.decode()


class Subscriber:
    """A `grapevine sub` that has had its SUBACK."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([GRAPEVINE, "sub", "-d", *map(str, arguments)],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.said = b""
        while b"subscribed:" not in self.said:
            line = self.process.stderr.readline()
            if not line:
                raise AssertionError(f"no SUBACK: {self.said.decode()}")
            self.said += line

    def finish(self, timeout=30):
        out, err = self.process.communicate(timeout=patient(timeout))
        return self.process.returncode, out, (self.said + err).decode()


class WithBroker(unittest.TestCase):
    """Tests with a broker of their own on a free port."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="grapevine-cli-")
        cls.start_broker()

    @classmethod
    def start_broker(cls, port=None):
        cls.port = port or free_port()
        command = cls.node_command() if NODE else cls.mosquitto_command()
        cls.broker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(int(patient(200))):
            try:
                socket.create_connection(("127.0.0.1", cls.port)).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"the broker did not start: {command}")

    @classmethod
    def mosquitto_command(cls):
        config = os.path.join(cls.folder, "mosquitto.conf")
        with open(config, "w", encoding="utf-8") as out:
            out.write(f"listener {cls.port} 127.0.0.1\nallow_anonymous true\n"
                      "message_size_limit 1000000\nmax_queued_messages 0\n")
        mosquitto = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
        return [mosquitto, "-c", config]

    @classmethod
    def node_command(cls):
        return [NODE, "--listen", f"tcp://127.0.0.1:{cls.port}", "--data", cls.folder + "/data",
                "--set", "admin.listen=", "--set", "mqtt.packet_size_max=1000000"]

    @classmethod
    def tearDownClass(cls):
        cls.broker.terminate()
        cls.broker.wait()
        shutil.rmtree(cls.folder)


class PubAndSub(WithBroker):
    def test_every_version_and_qos(self):
        for version in VERSIONS:
            for qos in (0, 1, 2):
                with self.subTest(version=version, qos=qos):
                    sub = Subscriber("-p", self.port, "-t", "a/+/c", "-q", qos, "-V", version,
                                     "-v", "-C", 1)
                    status, _, err = run("pub", "-p", self.port, "-t", "a/b/c", "-m", "grapes",
                                         "-q", qos, "-V", version)
                    self.assertEqual((status, err), (0, ""))
                    status, out, _ = sub.finish()
                    self.assertEqual((status, out), (0, b"a/b/c grapes\n"))

    def test_several_filters_and_a_url(self):
        sub = Subscriber("-L", f"mqtt://127.0.0.1:{self.port}/one/#", "-t", "two", "-v", "-C", 2)
        self.assertEqual(run("pub", "-p", self.port, "-t", "two", "-m", "x")[0], 0)
        self.assertEqual(run("pub", "-L", f"mqtt://localhost:{self.port}/one/a", "-m", "y")[0], 0)
        self.assertEqual(sorted(sub.finish()[1].split(b"\n")), [b"", b"one/a y", b"two x"])

    def test_lines_of_standard_input_keep_their_order(self):
        lines = b"".join(b"%d\n" % i for i in range(5000)) + b"\nlast without end"
        for qos in (0, 1, 2):
            with self.subTest(qos=qos):
                sub = Subscriber("-p", self.port, "-t", "lines", "-q", qos, "-C", 5002)
                status, _, err = run("pub", "-p", self.port, "-t", "lines", "-l", "-q", qos,
                                     stdin=lines)
                self.assertEqual((status, err), (0, ""))
                status, out, _ = sub.finish()
                self.assertEqual(status, 0)
                self.assertEqual(out, lines + b"\n")

    def test_messages_from_file_stdin_and_nothing(self):
        payload = bytes(range(256)) * 1000
        name = os.path.join(self.folder, "payload")
        with open(name, "wb") as out:
            out.write(payload)
        sub = Subscriber("-p", self.port, "-t", "bytes", "-N", "-C", 3, "-q", 1)
        self.assertEqual(run("pub", "-p", self.port, "-t", "bytes", "-f", name, "-q", 1)[0], 0)
        self.assertEqual(run("pub", "-p", self.port, "-t", "bytes", "-n", "-q", 1)[0], 0)
        self.assertEqual(run("pub", "-p", self.port, "-t", "bytes", "-s", "-q", 1,
                             stdin=payload)[0], 0)
        status, out, _ = sub.finish()
        self.assertEqual(status, 0)
        self.assertEqual(out, payload + payload)

    def test_retained_messages(self):
        self.assertEqual(run("pub", "-p", self.port, "-t", "kept", "-m", "old", "-r")[0], 0)
        self.assertEqual(run("sub", "-p", self.port, "-t", "kept", "-C", 1)[1], b"old\n")
        status, out, _ = run("sub", "-p", self.port, "-t", "kept", "-R", "-W", 1)
        self.assertEqual((status, out), (27, b""))
        self.assertEqual(run("pub", "-p", self.port, "-t", "kept", "-n", "-r")[0], 0)
        self.assertEqual(run("sub", "-p", self.port, "-t", "kept", "-W", 1)[0], 27)

    def test_a_kept_session_collects_what_comes_meanwhile(self):
        for version in VERSIONS:
            with self.subTest(version=version):
                session = ("-p", self.port, "-t", "later", "-q", 2, "-c", "-V", version,
                           "-i", "keeper-" + version)
                self.assertEqual(run("sub", *session, "-E")[0], 0)
                self.assertEqual(run("pub", "-p", self.port, "-t", "later", "-m", "m", "-q", 2)[0], 0)
                status, out, err = run("sub", *session, "-C", 1, "-d")
                self.assertEqual((status, out), (0, b"m\n"))
                if version != "3.1":  # which has no such flag
                    self.assertIn("session_present=1", err)

    def test_the_will_of_a_killed_client(self):
        watcher = Subscriber("-p", self.port, "-t", "wills", "-C", 1, "-q", 1)
        dying = Subscriber("-p", self.port, "-t", "x", "--will-topic", "wills", "--will-payload",
                           "gone", "--will-qos", 1)
        dying.process.kill()
        dying.finish()
        self.assertEqual(watcher.finish()[1], b"gone\n")

    def test_properties_travel(self):
        watcher = subprocess.Popen(
            ["mosquitto_sub", "-p", str(self.port), "-V", "5", "-t", "props", "-C", "1", "-F",
             "%C|%D|%P|%R|%p"], stdout=subprocess.PIPE)
        for _ in range(200):  # until it has its subscription
            status, _, err = run("pub", "-p", self.port, "-t", "props", "-m", "m",
                                 "-D", "publish", "content-type", "text/plain",
                                 "-D", "publish", "correlation-data", "42",
                                 "-D", "publish", "user-property", "colour", "red",
                                 "-D", "publish", "response-topic", "answers",
                                 "-D", "publish", "payload-format-indicator", "1")
            self.assertEqual((status, err), (0, ""))
            if watcher.poll() is not None:
                break
            time.sleep(0.05)
        out = watcher.communicate(timeout=patient(20))[0]
        self.assertEqual(out, b"text/plain|42|colour:red|answers|m\n")

    def test_a_lost_connection_is_made_again(self):
        sub = Subscriber("-p", self.port, "-t", "again", "-C", 1)
        self.broker.kill()
        self.broker.wait()
        type(self).start_broker(self.port)
        for _ in range(300):
            run("pub", "-p", self.port, "-t", "again", "-m", "back")
            if sub.process.poll() is not None:
                break
            time.sleep(0.1)
        status, out, err = sub.finish()
        self.assertEqual((status, out), (0, b"back\n"))
        self.assertIn("the server closed the connection", err)

    def test_ctrl_c_says_goodbye(self):
        watcher = Subscriber("-p", self.port, "-t", "wills2", "-W", 1)
        sub = Subscriber("-p", self.port, "-t", "x", "--will-topic", "wills2")
        sub.process.send_signal(signal.SIGINT)
        self.assertEqual(sub.finish()[0], 0)
        self.assertEqual(watcher.finish()[:2], (27, b""))  # a DISCONNECT takes the will back

    def test_idle_connections_live_by_pings(self):
        for keep_alive in (1, 3, 9):  # of a short time a busy machine may eat up the rest
            sub = Subscriber("-p", self.port, "-t", "x", "-k", keep_alive, "-W", 4 * keep_alive)
            status, _, err = sub.finish(60)
            self.assertEqual(status, 27)
            if "closed" not in err:
                return
        self.fail(f"closed although it pings: {err}")

    def test_what_the_server_does_not_take(self):
        status, _, err = run("pub", "-p", self.port, "-t", "big", "-s", "-q", 1,
                             stdin=bytes(1100000))
        self.assertEqual(status, 1)
        self.assertIn("grapevine pub: ", err)


class Usage(unittest.TestCase):
    def test_mistakes_are_one_line_and_status_2(self):
        for arguments, text in (
                (("pub", "-m", "x"), "grapevine pub: -t TOPIC is missing\n"),
                (("pub", "-t", "a"),
                 "grapevine pub: one of -m MESSAGE, -f FILE, -n, -s, -l is missing\n"),
                (("pub", "-t", "a/#", "-m", "x"),
                 "grapevine pub: 'a/#' is not a topic to publish to\n"),
                (("pub", "-C", "1"), "grapevine pub: -C is not an option here; --help shows all\n"),
                (("sub", "-t", "a#"), "grapevine sub: 'a#' is not a topic filter\n"),
                (("sub", "-t", "a", "-q", "3"),
                 "grapevine sub: -q '3': expected a number from 0 to 2\n"),
                (("sub", "-t", "a", "-c"),
                 "grapevine sub: -c needs a client id (-i): the session is found again by it\n"),
                (("cluster",), "grapevine cluster: expected: grapevine cluster show, join, leave "
                               "or forget\n"),
                (("passwd", "-i", "4095"), "grapevine passwd: --iterations '4095': expected a "
                                           "number from 4096 to 10000000\n"),
                (("passwd", "--iterations"), "grapevine passwd: --iterations needs a value\n"),
                (("passwd", "a", "b"),
                 "grapevine passwd: expected one user name, UTF-8 of 1 to 255 bytes\n"),
                (("status", "--bogus"), "grapevine status: --bogus is not an option\n"),
                (("status", "--admin", "::"),
                 "grapevine status: --admin '::': expected HOST:PORT\n"),
                (("bogus",), "grapevine: no command 'bogus'; grapevine --help lists them\n")):
            with self.subTest(arguments=arguments):
                self.assertEqual(run(*arguments), (2, b"", text))

    def test_help_and_version(self):
        for arguments in (("--help",), ("pub", "--help"), ("sub", "--help"), ("status", "--help"),
                          ("drain", "--help"), ("undrain", "--help"), ("cluster", "--help"),
                          ("check-config", "--help"), ("passwd", "--help"), ("--version",)):
            with self.subTest(arguments=arguments):
                status, out, err = run(*arguments)
                self.assertEqual((status, err), (0, ""))
                self.assertIn(b"grapevine", out)

    def test_nobody_there(self):
        port = free_port()
        for command in (("pub", "-p", port, "-t", "a", "-m", "x"), ("sub", "-p", port, "-t", "a")):
            status, out, err = run(*command)
            self.assertEqual((status, out), (1, b""))
            self.assertEqual(err, f"grapevine {command[0]}: cannot connect to localhost:{port}: "
                                  "connection refused\n")
        status, _, err = run("status", "--admin", f"127.0.0.1:{port}")
        self.assertEqual(status, 1)
        self.assertEqual(err, f"grapevine status: cannot connect to 127.0.0.1:{port}: connection "
                              "refused\n")


class Passwd(unittest.TestCase):
    """`grapevine passwd`: the verifier is computed a second time here."""

    @staticmethod
    def verifier(password, salt, iterations):
        def mac(key, text):
            return hmac.new(key, text, hashlib.sha256).digest()
        salted = hashlib.pbkdf2_hmac("sha256", password, base64.b64decode(salt), iterations)
        keys = hashlib.sha256(mac(salted, b"Client Key")).digest(), mac(salted, b"Server Key")
        return (f"SCRAM-SHA-256${iterations}:{salt}$"
                + ":".join(base64.b64encode(key).decode() for key in keys))

    def test_the_verifier_is_that_of_the_password(self):
        for arguments, given, password, iterations in (
                ((), b"pencil\n", b"pencil", 4096),
                (("--scram",), b"pencil", b"pencil", 4096),
                (("-i", "5000"), b" two words \r\nmore\n", b" two words ", 5000),
                (("--iterations", "4097"), "j\u00fcrgen\n".encode(), "j\u00fcrgen".encode(), 4097),
                ((), b"x" * 1024 + b"\n", b"x" * 1024, 4096)):
            with self.subTest(arguments=arguments, given=given[:20]):
                status, out, err = run("passwd", *arguments, stdin=given)
                self.assertEqual((status, err), (0, ""))
                text = out.decode().strip()
                salt = text.split(":")[1].split("$")[0]
                self.assertEqual(len(base64.b64decode(salt)), 16)
                self.assertEqual(text, self.verifier(password, salt, iterations))
        first, second = (run("passwd", stdin=b"x")[1] for _ in range(2))
        self.assertNotEqual(first, second, "each has a salt of its own")

    def test_with_a_user_it_is_a_line_of_the_configuration(self):
        for user in ("alice", "a@example.com", 'odd "name"\\, = {}', "j\u00fcrgen"):
            with self.subTest(user=user):
                status, out, err = run("passwd", user, stdin=b"pencil")
                self.assertEqual((status, err), (0, ""))
                with tempfile.NamedTemporaryFile("wb", suffix=".conf") as config:
                    config.write(b"auth { anonymous = false }\n" + out)
                    config.flush()
                    status, _, err = run("check-config", "-c", config.name)
                    self.assertEqual((status, err), (0, ""))

    def test_passwords_that_are_none(self):
        for given, text in ((b"", "the password is empty"), (b"\n", "the password is empty"),
                            (b"x" * 1025 + b"\n", "the password is longer than 1024 bytes"),
                            (b"a\0b", "there is a NUL in the password")):
            with self.subTest(given=given[:10]):
                self.assertEqual(run("passwd", stdin=given),
                                 (1, b"", f"grapevine passwd: {text}\n"))

    def test_a_terminal_is_asked_twice_and_shows_nothing(self):
        def typed(*lines):
            primary, secondary = os.openpty()
            process = subprocess.Popen([GRAPEVINE, "passwd"], stdin=secondary,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for line in lines:
                prompt = b""
                while not prompt.endswith(b": "):
                    prompt += process.stderr.read(1)
                os.write(primary, line + b"\n")
            out, err = process.communicate(timeout=30)
            shown = os.read(primary, 1000) if select.select([primary], [], [], 0)[0] else b""
            os.close(primary)
            os.close(secondary)
            return process.returncode, out.decode(), err.decode().strip(), shown
        status, out, _, shown = typed(b"sesame", b"sesame")
        self.assertEqual(status, 0)
        salt = out.split(":")[1].split("$")[0]
        self.assertEqual(out.strip(), self.verifier(b"sesame", salt, 4096))
        self.assertNotIn(b"sesame", shown)
        status, out, err, _ = typed(b"sesame", b"sesam")
        self.assertEqual((status, out, err),
                         (1, "", "grapevine passwd: these were two different passwords"))


class FakeServer:
    """
    Accepts one connection and talks by a script: bytes are sent, numbers are packets to wait for,
    events are waited for.  Then it waits for the client's end and closes.
    """

    def __init__(self, *script):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.packets = []
        self.thread = threading.Thread(target=self.serve, args=(script,), daemon=True)
        self.thread.start()

    @staticmethod
    def read_packet(connection):
        first = connection.recv(1)
        if not first:
            return None
        length = shift = 0
        while True:
            byte = connection.recv(1)[0]
            length |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                break
        body = b""
        while len(body) < length:
            body += connection.recv(length - len(body))
        return first + body

    def serve(self, script):
        connection, _ = self.listener.accept()
        self.listener.close()
        with connection:
            connection.settimeout(patient(60))
            try:
                for step in script:
                    if isinstance(step, bytes):
                        connection.sendall(step)
                    elif isinstance(step, threading.Event):
                        step.wait(patient(60))
                    else:
                        for _ in range(step):
                            self.packets.append(self.read_packet(connection))
                while self.packets[-1:] != [None]:
                    self.packets.append(self.read_packet(connection))
            except (OSError, IndexError):
                pass

    def join(self):
        self.thread.join(patient(60))
        return [packet for packet in self.packets if packet]


CONNACK5 = b"\x20\x03\x00\x00\x00"
SUBACK5 = b"\x90\x04\x00\x15\x00\x00"  # the first request's id stands above the 20 of messages


def publish5(packet_id, first=0x34, topic=b"t", payload=b"m"):
    body = struct.pack("!H", len(topic)) + topic + struct.pack("!HB", packet_id, 0) + payload
    return bytes([first, len(body)]) + body


class ServersThatMisbehave(unittest.TestCase):
    def sub(self, *script, more=()):
        server = FakeServer(*script)
        status, out, err = run("sub", "-p", server.port, "-t", "t", "-W", int(patient(10)), *more)
        return status, out, err, server.join()

    def test_a_qos_2_message_sent_twice_is_printed_once(self):
        status, out, _, packets = self.sub(
            1, CONNACK5, 1, SUBACK5, publish5(7, payload=b"once"), publish5(7, 0x3c, payload=b"once"),
            2, b"\x62\x02\x00\x07", 1, publish5(7, payload=b"twice"), more=("-C", "2"))
        self.assertEqual((status, out), (0, b"once\ntwice\n"))
        kinds = [packet[0] for packet in packets]
        self.assertEqual(kinds[:6], [0x10, 0x82, 0x50, 0x50, 0x70, 0x50])

    def test_an_unknown_pubrec_and_pubrel_are_answered(self):
        status, _, _, packets = self.sub(
            1, CONNACK5, 1, SUBACK5, b"\x50\x02\x00\x05", b"\x62\x02\x00\x06", 2,
            publish5(1, 0x32), more=("-C", "1"))
        self.assertEqual(status, 0)
        self.assertEqual(packets[2], b"\x62\x00\x05\x92")
        self.assertEqual(packets[3][:3], b"\x70\x00\x06")

    def test_refusals_and_farewells_are_told(self):
        status, _, err, _ = self.sub(1, b"\x20\x03\x00\x87\x00")
        self.assertEqual(status, 1)
        self.assertIn("the server refused the connection: not authorized", err)
        said = b"\x1f\x00\x05later"
        status, _, err, _ = self.sub(1, CONNACK5, 1, SUBACK5,
                                     b"\xe0" + bytes([2 + len(said)]) + b"\x8b" +
                                     bytes([len(said)]) + said)
        self.assertEqual(status, 1)
        self.assertIn("the server closed the connection: server shutting down, later", err)
        status, _, err, _ = self.sub(1, CONNACK5, 1, b"\x90\x04\x00\x15\x00\x87")
        self.assertEqual(status, 1)
        self.assertIn("the server refused the subscription to 't': not authorized", err)

    def test_a_refused_message_is_an_error(self):
        server = FakeServer(1, CONNACK5, 1, b"\x40\x03\x00\x01\x97")
        status, _, err = run("pub", "-p", server.port, "-t", "t", "-m", "m", "-q", 1)
        self.assertEqual(status, 1)
        self.assertEqual(err, "grapevine pub: the server refused the message: quota exceeded\n")
        server.join()

    def test_the_servers_limits_are_kept(self):
        server = FakeServer(1, b"\x20\x0b\x00\x00\x08\x21\x00\x01\x27\x00\x00\x00\x20",
                            1, b"\x40\x02\x00\x01", 1, b"\x40\x02\x00\x01")
        status, _, err = run("pub", "-p", server.port, "-t", "t", "-l", "-q", 1,
                             stdin=b"one\n" + b"x" * 40 + b"\ntwo\n")
        self.assertEqual(status, 1)
        self.assertEqual(err, "grapevine pub: message not sent: larger than the server takes\n")
        published = [packet for packet in server.join() if packet[0] == 0x32]
        self.assertEqual([packet[-3:] for packet in published], [b"one", b"two"])

    def test_garbage_ends_the_connection_with_a_reason(self):
        for garbage in (b"\x00", b"\xff" * 8, b"\x20\x01\x00", b"\x30\x02\x00\x09",
                        b"\x30\xff\xff\xff\xff\x7f", b"\x10\x00", b"HTTP/1.1 400 Bad Request\r\n"):
            with self.subTest(garbage=garbage):
                status, out, err, _ = self.sub(1, garbage)
                self.assertEqual((status, out), (1, b""))
                self.assertIn("the server broke the protocol", err)
        for garbage in (b"\x32\x03\x00\x01t", CONNACK5, b"\x82\x02\x00\x01", b"\xd0\x01\x00",
                        publish5(0, 0x32), publish5(1, 0x36)):
            with self.subTest(after_connack=garbage):
                server = FakeServer(1, CONNACK5, 1, SUBACK5, garbage)
                process = subprocess.Popen([GRAPEVINE, "sub", "-p", str(server.port), "-t", "t",
                                            "-W", str(int(patient(30)))], stderr=subprocess.PIPE)
                said = process.stderr.readline().decode()
                process.terminate()  # it would try again and again
                process.communicate(timeout=patient(60))
                self.assertIn("the server broke the protocol", said)
                last = server.join()[-1]
                self.assertEqual(last[0], 0xe0)
                self.assertIn(last[1], (0x81, 0x82))

    def test_ctrl_c_does_not_hide_what_the_server_did(self):
        """The reason is told when the server has closed too; the signal comes before that."""
        close = threading.Event()
        server = FakeServer(1, CONNACK5, 1, SUBACK5, b"\xd0\x01\x00", 1, close)
        process = subprocess.Popen([GRAPEVINE, "sub", "-p", str(server.port), "-t", "t"],
                                   stderr=subprocess.PIPE)
        wait_for(lambda: len(server.packets) == 3, patient(30), "a DISCONNECT")
        process.terminate()
        wait_for(lambda: not self.catches(process, signal.SIGTERM), patient(30), "the signal taken")
        close.set()
        err = process.communicate(timeout=patient(60))[1].decode()
        self.assertEqual(err, "grapevine sub: the server broke the protocol: malformed packet\n")

    @staticmethod
    def catches(process, number):
        """Whether the process has a handler for the signal: the command takes the first one only."""
        with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
            caught = next(line.split()[1] for line in status if line.startswith("SigCgt:"))
        return int(caught, 16) >> number - 1 & 1

    def test_silence_is_noticed(self):
        status, _, err, packets = self.sub(1, CONNACK5, 1, SUBACK5, more=("-k", "1"))
        self.assertIn("the server does not answer pings", err)
        self.assertIn(b"\xc0", packets)
        self.assertIn(status, (1, 27))


STATUS = {
    "node": "n1", "id": "aa", "version": "0.1.0", "uptime_ms": 93784000, "ready": False,
    "reasons": ["tables are not synced"], "cluster": "grapes",
    "listeners": [{"url": "tcp://127.0.0.1:1883"}], "connections": {"current": 3}, "sessions": 4,
    "subscriptions": 5, "routes": 6, "retained": 7, "queued_messages": 8,
    "counters": {"outbox_messages": 11},
    "messages": {"received": {"qos0": 1, "qos1": 2, "qos2": 3},
                 "sent": {"qos0": 4, "qos1": 5, "qos2": 6},
                 "dropped": {"queue_full": 9, "expired": 0}},
    "storage": {"sync": "commit", "promise": "on disk", "oldest_reader_us": 2500}}
CLUSTER = {
    "cluster": "grapes", "node": "n1", "nodes": [
        {"node": "n1", "id": "aa", "address": "127.0.0.1:1", "state": "alive", "views": [
            {"node": "n1", "id": "aa", "state": "alive"},
            {"node": "n2", "id": "bb", "state": "suspect", "incarnation": 4, "last_heard_ms": 120,
             "link_up": True, "rtt_us": 350, "table_version": "4.1000",
             "table_hash": "fedcba9876543210", "table_rows": 6}]},
        {"node": "n2", "id": "bb", "address": "127.0.0.1:2", "state": "suspect", "views": [
            {"node": "n1", "id": "aa", "state": "alive", "incarnation": 1, "last_heard_ms": None,
             "link_up": False, "rtt_us": None, "table_version": "1.0",
             "table_hash": "0000000000000000", "table_rows": 0}]}]}


class AdminPort(http.server.BaseHTTPRequestHandler):
    answers = {"/api/v1/status": (200, json.dumps(STATUS)),
               "/api/v1/cluster": (200, json.dumps(CLUSTER))}
    token = None
    asked = None  # the paths of POST

    def do_GET(self):
        status, body = self.answers[self.path]
        if self.token and self.headers.get("Authorization") != f"Bearer {self.token}":
            status, body = 401, json.dumps({"code": "UNAUTHORIZED", "message": "who are you"})
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def do_POST(self):
        self.asked.append(self.path)
        self.path = self.path.split("?")[0]
        self.do_GET()

    def log_message(self, *_):
        pass


class Admin(unittest.TestCase):
    def setUp(self):
        self.handler = type("Handler", (AdminPort,), {"answers": dict(AdminPort.answers),
                                                   "asked": []})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def tearDown(self):
        self.server.shutdown()
        self.server.server_close()

    def test_status_for_people_and_programs(self):
        status, out, err = run("status", "--admin", self.address)
        self.assertEqual((status, err), (0, ""))
        lines = [line.split(None, 1) for line in out.decode().splitlines()]
        for expected in (["node", "n1"], ["up", "1d 02:03:04"], ["connections", "3"],
                         ["dropped", "queue_full 9"], ["oldest", "reader  2.5 ms"],
                         ["outbox", "11"],
                         ["cluster", "grapes"],
                         ["received", "1 at QoS 0, 2 at QoS 1, 3 at QoS 2"],
                         ["not", "ready      tables are not synced"]):
            self.assertIn(expected, lines)
        status, out, _ = run("status", "--admin", self.address, "--json")
        self.assertEqual((status, json.loads(out)), (0, STATUS))

    def test_readiness_as_an_exit_status(self):
        self.assertEqual(run("status", "--ready", "--admin", self.address)[0], 3)
        self.assertEqual(run("status", "--admin", self.address, "--json", "--ready")[0], 3)
        self.handler.answers["/api/v1/status"] = (200, json.dumps({**STATUS, "ready": True}))
        self.assertEqual(run("status", "--ready", "--admin", self.address)[0], 0)

    def test_drain_and_undrain(self):
        drain = {"state": "draining", "server_reference": "b:1883", "clients_left": 12}
        self.handler.answers["/api/v1/drain"] = (200, json.dumps(drain))
        self.handler.answers["/api/v1/undrain"] = (200, json.dumps({"state": "no"}))
        at = ("--admin", self.address)
        self.assertEqual(run("drain", *at), (0, b"draining, 12 clients left, sent to b:1883\n", ""))
        run("drain", "--to", "b c:1883", *at, "--rate", "7")
        status, out, _ = run("undrain", *at, "--json")
        self.assertEqual((status, json.loads(out)), (0, {"state": "no"}))
        self.assertEqual(run("undrain", *at), (0, b"clients are taken again\n", ""))
        self.assertEqual(self.handler.asked, [
            "/api/v1/drain", "/api/v1/drain?server_reference=b%20c:1883&clients_per_second=7",
            "/api/v1/undrain", "/api/v1/undrain"])
        self.handler.answers["/api/v1/drain"] = (409, '{"message": "the node is stopping"}')
        self.assertEqual(run("drain", *at), (1, b"", f"grapevine drain: {self.address} answers 409: "
                                                     "the node is stopping\n"))
        self.assertEqual(run("drain", "--rate"), (2, b"", "grapevine drain: --rate needs a value\n"))

    def test_a_drain_may_be_waited_for(self):
        self.handler.answers["/api/v1/drain"] = (200, '{"state": "draining", "clients_left": 1}')

        def become(state):
            self.handler.answers["/api/v1/status"] = (200, json.dumps({"drain": {"state": state}}))
        for state, expected in (("drained", 0), ("no", 1)):
            become("draining")
            threading.Timer(0.5, become, [state]).start()
            begun = time.monotonic()
            self.assertEqual(run("drain", "--wait", "--admin", self.address)[0], expected)
            self.assertGreater(time.monotonic() - begun, 0.4)

    def test_cluster_show(self):
        status, out, err = run("cluster", "show", "--admin", self.address)
        self.assertEqual((status, err), (0, ""))
        rows = [line.split() for line in out.decode().splitlines()]
        self.assertIn(["n1", "n2", "suspect", "up", "120ms", "350us", "4", "4.1000", "6",
                       "fedcba98"], rows)
        self.assertIn(["n2", "n1", "alive", "down", "-", "-", "1", "1.0", "0", "00000000"], rows)
        self.assertIn(["n2", "suspect", "127.0.0.1:2", "bb"], rows)
        self.assertEqual([row for row in rows if row[:2] == ["n1", "n1"]], [])
        status, out, _ = run("cluster", "show", "--json", "--admin", self.address)
        self.assertEqual(json.loads(out), CLUSTER)
        self.handler.answers["/api/v1/cluster"] = (200, '{"node": "n1", "nodes": []}')
        self.assertEqual(run("cluster", "show", "--admin", self.address),
                         (0, b"n1 is not in a cluster\n", ""))

    def test_cluster_join_leave_and_forget(self):
        at = ("--admin", self.address)
        for word in ("join", "leave", "forget"):
            self.handler.answers[f"/api/v1/cluster/{word}"] = (200, "{}")
        self.assertIn(b"dialling", run("cluster", "join", "n2:7883", *at)[1])
        self.assertIn(b"leaving", run("cluster", "leave", *at)[1])
        self.assertIn(b"forgotten", run("cluster", "forget", "a b", *at)[1])
        self.assertEqual(self.handler.asked, [
            "/api/v1/cluster/join?seed=n2:7883", "/api/v1/cluster/leave",
            "/api/v1/cluster/forget?node=a%20b"])
        self.handler.answers["/api/v1/cluster/forget"] = (409, '{"message": "the node is alive"}')
        self.assertEqual(run("cluster", "forget", "n1", *at),
                         (1, b"", f"grapevine cluster forget: {self.address} answers 409: "
                                  "the node is alive\n"))
        for arguments, text in ((("join",), "grapevine cluster join HOST:PORT"),
                                (("forget", "--json"), "grapevine cluster forget NODE")):
            self.assertEqual(run("cluster", *arguments),
                             (2, b"", f"grapevine cluster: expected: {text}\n"))
        self.assertEqual(run("cluster", "leave", "n1", *at),
                         (2, b"", "grapevine cluster leave: unexpected argument 'n1'\n"))
        for word in ("join", "leave", "forget", "show"):
            self.assertEqual(run("cluster", word, "--help")[0], 0)

    def test_the_token_is_brought(self):
        self.handler.token = "sesame"
        status, _, err = run("status", "--admin", self.address)
        self.assertEqual(status, 1)
        self.assertEqual(err, f"grapevine status: {self.address} answers 401: who are you\n")
        self.assertEqual(run("status", "--admin", self.address, "--token", "sesame")[0], 0)
        env = dict(os.environ, GRAPEVINE_ADMIN__TOKEN="sesame")
        self.assertEqual(run("status", "--admin", self.address, env=env)[0], 0)

    def test_odd_answers(self):
        for body, text in (("not json", "is not JSON"), ("", "is not JSON"), ("[" * 100000, "JSON")):
            self.handler.answers["/api/v1/status"] = (200, body)
            status, out, err = run("status", "--admin", self.address)
            self.assertEqual((status, out), (1, b""))
            self.assertIn(text, err)
        for body in ("[]", "{}", '{"reasons": 7, "messages": [], "listeners": {"a": 1}}', "null", "7"):
            self.handler.answers["/api/v1/status"] = (200, body)
            self.assertIn(run("status", "--admin", self.address)[0], (0, 1))
            self.handler.answers["/api/v1/cluster"] = (200, body)
            self.assertIn(run("cluster", "show", "--admin", self.address)[0], (0, 1))
        self.handler.answers["/api/v1/status"] = (503, "<html>no")
        self.assertIn("answers 503: <html>no", run("status", "--admin", self.address)[2])


class CheckConfig(unittest.TestCase):
    def test_the_node_beside_the_command_is_asked(self):
        with tempfile.TemporaryDirectory() as folder:
            command = shutil.copy(GRAPEVINE, folder)
            node = os.path.join(folder, "grapevined")
            with open(node, "w", encoding="utf-8") as out:
                out.write('#!/bin/sh\necho "$@"\nexit 3\n')
            os.chmod(node, os.stat(node).st_mode | stat.S_IXUSR)
            done = subprocess.run([command, "check-config", "-c", "a b.conf"], capture_output=True,
                                  check=False)
            self.assertEqual((done.returncode, done.stdout), (3, b"--check-config -c a b.conf\n"))

    def test_no_node_to_be_found(self):
        with tempfile.TemporaryDirectory() as folder:
            command = shutil.copy(GRAPEVINE, folder)
            done = subprocess.run([command, "check-config"], capture_output=True, check=False,
                                  env=dict(os.environ, PATH=folder))
            self.assertEqual(done.returncode, 1)
            self.assertEqual(done.stderr, b"grapevine check-config: cannot run grapevined: No such "
                                          b"file or directory\n")


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    GRAPEVINE = os.path.abspath(sys.argv.pop(1))
    if sys.argv[1:2] == ["--node"]:
        NODE = os.path.abspath(sys.argv[2])
        del sys.argv[1:3]
    unittest.main()
