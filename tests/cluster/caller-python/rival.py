"""A pod that wants all for itself, with nothing but Python's own library. It reports that no endpoint can be
reached, asks for services that are not there, and picks without reporting until the agent refuses; then it
opens connections until the agent hangs up, and keeps them. It says a line for each of these, once that has
been done or refused,

    reported failures COUNT
    refused names COUNT
    refused leases WHY
    refused connections COUNT

and goes on with all four until it is deleted."""

import http.client
import itertools
import json
import resource
import socket
import sys
import threading
import time

SOCKET = "/run/pointsman/agent.sock"
SERVICE = sys.argv[1]
MANY = 1000


class Agent(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(5)
        self.sock.connect(SOCKET)

    def ask(self, path, message):
        self.request("POST", path, json.dumps(message))
        answer = self.getresponse()
        return answer.status, json.loads(answer.read().decode())


def says(*words):
    print(*words, flush=True)


def over_and_over(what):
    """A connection may end at any time: another takes its place."""
    while True:
        try:
            what(Agent("localhost"))
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)


def failures(agent):
    for n in itertools.count():
        status, said = agent.ask("/v1/pick", {"service": SERVICE})
        if status == 200:
            report = {"lease": said["picks"][0]["lease"], "outcome": "UNREACHABLE"}
            agent.ask("/v1/report", {"reports": [report]})
        if n == MANY:
            says("reported failures", n)


def names(agent):
    for n in itertools.count():
        status, _ = agent.ask("/v1/pick", {"service": f"cat{n % 7919}.shop"})
        if status == 404 and n == MANY:
            says("refused names", n)


def leases(agent):
    refused = False
    while True:
        message = {"service": SERVICE, "count": 4, "leaseTtl": "300s"}
        status, said = agent.ask("/v1/pick", message)
        if status == 429:
            if not refused:
                says("refused leases", said["error"]["message"])
                threading.Thread(target=connections, daemon=True).start()
            refused = True
            time.sleep(0.01)


def connections():
    held, told = [], 0
    while True:
        try:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(5)
            connection.connect(SOCKET)
            held.append(connection)
        except OSError:
            time.sleep(0.1)
        if len(held) >= told + MANY:
            told = len(held)
            gone = [each for each in held if hung_up(each)]
            if gone:
                says("refused connections", len(gone))
                held = list(set(held) - set(gone))
                told = len(held)
                time.sleep(1)


def hung_up(connection):
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
for what in failures, names, leases:
    threading.Thread(target=over_and_over, args=[what], daemon=True).start()
threading.Event().wait()
