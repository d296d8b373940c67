"""An application with nothing but Python's own library: asks the agent over its socket where to send
each request, sends it there, and tells the agent how it went. Of each service that it is given it says,
a line for each request,

    WHEN ok SERVICE POD ZONE
    WHEN failed SERVICE pick|ADDRESS WHY

WHEN is the milliseconds since 1970 at which the request began."""

import errno
import http.client
import json
import socket
import sys
import threading
import time

FOLDER = "/run/pointsman"
PAUSE = 0.05
TIMEOUT = 1


class Agent(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(2 * TIMEOUT)  # of which a pick may wait one
        self.sock.connect(FOLDER + "/agent.sock")


def ask(connection, method, path, message=None):
    try:
        connection.request(method, path, json.dumps(message) if message else None)
        answer = connection.getresponse()
        body = answer.read().decode()
        if answer.status != 200:
            raise http.client.HTTPException(f"{answer.status} {body}")
        return json.loads(body)
    finally:
        connection.close()


def request(service):
    try:
        pick = ask(Agent("localhost"), "POST", "/v1/pick", {"service": service})["picks"][0]
    except Exception as error:
        return f"failed {service} pick {error!r}"
    began = time.monotonic()
    outcome, said = call(pick["address"], pick["port"])
    latency = f"{time.monotonic() - began:.6f}s"
    report = {"lease": pick["lease"], "outcome": outcome, "latency": latency}
    try:
        ask(Agent("localhost"), "POST", "/v1/report", {"reports": [report]})
    except Exception as error:
        return f"failed {service} report {error!r}"
    if outcome != "SUCCESS":
        return f"failed {service} {pick['address']}:{pick['port']} {outcome} {said}"
    return f"ok {service} {said['pod']} {said['zone']}"


def call(address, port):
    backend = http.client.HTTPConnection(address, port, timeout=TIMEOUT)
    try:
        backend.connect()
    except OSError as error:
        return "UNREACHABLE", repr(error)
    try:
        return "SUCCESS", ask(backend, "GET", "/")
    except TimeoutError as error:
        return "EXPIRED", repr(error)
    except Exception as error:
        return "FAILURE", repr(error)


def requests(service):
    while True:
        began = time.time_ns() // 1_000_000
        print(f"{began} {request(service)}\n", end="", flush=True)
        time.sleep(PAUSE)


def folder():
    try:
        open(FOLDER + "/caller", "x").close()
        return "writable"
    except OSError as error:
        return errno.errorcode[error.errno]


print("folder", folder(), flush=True)
for service in sys.argv[1:]:
    threading.Thread(target=requests, args=[service]).start()
