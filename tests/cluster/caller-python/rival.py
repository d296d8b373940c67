"""A pod that wants all for itself, with nothing but Python's own library: until the agent refuses, it picks
without reporting and opens connections; it asks for services that are not there; and it reports that no
endpoint can be reached. It says a line for each of these, once that has been refused or done,

    refused leases WHY
    refused connections COUNT
    refused names COUNT
    reported failures COUNT

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


def again_and_again(what):
    """A connection may end at any time: another takes its place."""

    def run():
        while True:
            try:
                what(Agent("localhost"))
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)

    threading.Thread(target=run, daemon=True).start()


def leases(agent):
    while True:
        status, said = agent.ask("/v1/pick", {"service": SERVICE, "count": 4, "leaseTtl": "60s"})
        if status == 429:
            says("refused leases", said["error"]["message"])
            time.sleep(1)


def names(agent):
    for n in itertools.count():
        status, _ = agent.ask("/v1/pick", {"service": f"cat{n % 7919}.shop"})
        if status == 404 and n == MANY:
            says("refused names", n)


def failures(agent):
    for n in itertools.count():
        status, said = agent.ask("/v1/pick", {"service": SERVICE})
        if status == 200:
            report = {"lease": said["picks"][0]["lease"], "outcome": "UNREACHABLE"}
            agent.ask("/v1/report", {"reports": [report]})
        if n == MANY:
            says("reported failures", n)


def connections(_):
    held = []
    while True:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(5)
        connection.connect(SOCKET)
        held.append(connection)
        if len(held) % MANY == 0:
            gone = sum(hung_up(each) for each in held)
            if gone:
                says("refused connections", gone)
                held.clear()


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
# Failures first: once it has no more leases it can't report any.
again_and_again(failures)
again_and_again(names)
again_and_again(connections)
time.sleep(5)
again_and_again(leases)
threading.Event().wait()
