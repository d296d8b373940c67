"""HTTP by httpx: an error's JSON, a wait, a watch."""

import json
import os

import httpx


def connect(variable):
    socket = os.environ[variable].removeprefix("unix://")
    transport = httpx.HTTPTransport(uds=socket)
    return httpx.Client(transport=transport, base_url="http://localhost")


agent, silent = connect("POINTSMAN_SOCKET"), connect("POINTSMAN_SILENT_SOCKET")

answer = agent.post("/v1/pick", json={"service": "crat.shop"})
error = answer.json()["error"]
info = error["details"][0]
print("error", answer.status_code, error["code"], info["reason"], info["metadata"]["near"])

answer = silent.post("/v1/pick", json={"service": "cart.shop", "wait": "0.2s"})
error = answer.json()["error"]
print("wait", answer.status_code, error["code"], error["details"][0]["reason"])

with agent.stream("GET", "/v1/services/changing.shop?watch=true") as watch:
    events = watch.iter_lines()
    print("watch", *(json.loads(next(events))["type"] for _ in range(2)))
