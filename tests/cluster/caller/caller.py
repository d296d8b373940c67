"""An application with nothing but Python's own library: asks the agent over its socket where to send
each request, and sends it there. Says "ok NODE" or "WRONG WHAT", a line for each request."""

import errno
import http.client
import json
import socket
import time

FOLDER = "/run/pointsman"


class Agent(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(3)
        self.sock.connect(FOLDER + "/agent.sock")


def ask(connection, method, path, message=None):
    try:
        connection.request(method, path, json.dumps(message) if message else None)
        answer = connection.getresponse()
        body = answer.read().decode()
        if answer.status != 200:
            raise OSError(f"{answer.status} {body}")
        return json.loads(body)
    finally:
        connection.close()


def request():
    pick = ask(Agent("localhost"), "POST", "/v1/pick", {"service": "cart.shop:http"})["picks"][0]
    served = ask(http.client.HTTPConnection(pick["address"], pick["port"], timeout=3), "GET", "/")
    report = {"lease": pick["lease"], "outcome": "SUCCESS"}
    ask(Agent("localhost"), "POST", "/v1/report", {"reports": [report]})
    return served["node"]


def folder():
    try:
        open(FOLDER + "/caller", "x").close()
        return "writable"
    except OSError as error:
        return errno.errorcode[error.errno]


print("folder", folder(), flush=True)
while True:
    try:
        print("ok", request(), flush=True)
    except Exception as error:  # whatever it is, the next one may succeed
        print("WRONG", repr(error), flush=True)
    time.sleep(0.05)
