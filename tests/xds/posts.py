"""Posts to HTTP/1.1 again and again: to an agent, which picks an endpoint of a service, or through an Envoy to a
server of echo.py. Prints lines as calls.py does, with the port that was picked, or that answered.

posts.py AT TARGET... [--number N] [--pause MS]: AT is the path of an agent's socket, and the targets are services; or
AT is IP:PORT, and they are paths. As many posts for each target, or until it is ended.
"""

import argparse
import http.client
import itertools
import json
import socket
import time

arguments = argparse.ArgumentParser()
arguments.add_argument("at")
arguments.add_argument("targets", nargs="+", metavar="target")
arguments.add_argument("--number", type=int)
arguments.add_argument("--pause", type=int, default=5)
arguments = arguments.parse_args()

# An agent answers in 5 s, whatever happens.
DEADLINE = 10


class OverUnix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(arguments.at)


def post(connection, target):
    if isinstance(connection, OverUnix):
        # Nobody reports how requests went: that is not what this is about.
        connection.request("POST", "/v1/pick", json.dumps({"service": target, "noReport": True}))
    else:
        connection.request("POST", target, "")
    response = connection.getresponse()
    body = response.read()
    if response.status == 200:
        answer = json.loads(body)
        return answer if isinstance(answer, int) else answer["picks"][0]["port"]
    if isinstance(connection, OverUnix):
        error = json.loads(body)["error"]
        return f"{error['code']} {error['message']}"
    return f"{'UNAVAILABLE' if response.status == 503 else 'UNKNOWN'} {response.status} {body.decode()}"


kind = OverUnix if arguments.at.startswith("/") else http.client.HTTPConnection
for target in arguments.targets:
    connection = kind("localhost" if kind is OverUnix else arguments.at, timeout=DEADLINE)
    for _ in itertools.count() if arguments.number is None else range(arguments.number):
        began = time.time()
        try:
            said = str(post(connection, target))
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            said = f"BROKEN {error!r}"
        print(int(1000 * began), int(1000 * (time.time() - began)), " ".join(said.split()), flush=True)
        time.sleep(arguments.pause / 1000)
