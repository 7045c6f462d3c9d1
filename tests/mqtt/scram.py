# SPDX-License-Identifier: Apache-2.0
"""
The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), and verifiers for a node's configuration.

    exchange = Scram("alice", "secret")
    exchange.first()                    what CONNECT or AUTH 0x19 carries
    exchange.final(challenge)           the answer to AUTH 0x18
    exchange.check(success)             what CONNACK or AUTH 0x00 carries proves the server

The fields that make a message can be changed before it is asked for, so that a test can lie.
"""

import base64
import hashlib
import hmac
import os

METHOD = "SCRAM-SHA-256"
SALT = b"a salt of tests!"


def _hmac(key, text):
    return hmac.new(key, text, hashlib.sha256).digest()


def verifier(password, salt=SALT, iterations=4096):
    """The text of a verifier, as `grapevine passwd` prints it."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(_hmac(salted, b"Client Key")).digest()
    encode = lambda data: base64.b64encode(data).decode()
    return (f"SCRAM-SHA-256${iterations}:{encode(salt)}"
            f"${encode(stored)}:{encode(_hmac(salted, b'Server Key'))}")


class Scram:
    def __init__(self, user, password, nonce=None):
        self.user, self.password = user, password
        self.nonce = nonce or base64.b64encode(os.urandom(18)).decode()
        self.header = "n,,"
        self.binding = None  # of client final; None: the header
        self.final_nonce = None  # None: what the server says
        self.challenge = self.expected = None

    def bare(self):
        user = self.user.replace("=", "=3D").replace(",", "=2C")
        return f"n={user},r={self.nonce}"

    def first(self):
        return (self.header + self.bare()).encode()

    def final(self, challenge):
        self.challenge = challenge.decode()
        fields = dict(item.split("=", 1) for item in self.challenge.split(","))
        assert fields["r"].startswith(self.nonce) and len(fields["r"]) > len(self.nonce)
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(),
                                     base64.b64decode(fields["s"]), int(fields["i"]))
        binding = base64.b64encode((self.binding or self.header).encode()).decode()
        without_proof = f"c={binding},r={self.final_nonce or fields['r']}"
        text = f"{self.bare()},{self.challenge},{without_proof}".encode()
        key = _hmac(salted, b"Client Key")
        signature = _hmac(hashlib.sha256(key).digest(), text)
        proof = bytes(a ^ b for a, b in zip(key, signature))
        self.expected = b"v=" + base64.b64encode(_hmac(_hmac(salted, b"Server Key"), text))
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def check(self, success):
        assert success == self.expected, f"server final is {success!r}, expected {self.expected!r}"
