"""HTTP by requests: an error's JSON, a wait, a watch."""

import json
import os
from urllib.parse import quote

import requests_unixsocket


def url(variable):
    return "http+unix://" + quote(os.environ[variable].removeprefix("unix://"), safe="")


agent, silent = url("POINTSMAN_SOCKET"), url("POINTSMAN_SILENT_SOCKET")
session = requests_unixsocket.Session()

answer = session.post(f"{agent}/v1/pick", json={"service": "crat.shop"})
error = answer.json()["error"]
info = error["details"][0]
print("error", answer.status_code, error["code"], info["reason"], info["metadata"]["near"])

answer = session.post(f"{silent}/v1/pick", json={"service": "cart.shop", "wait": "0.2s"})
error = answer.json()["error"]
print("wait", answer.status_code, error["code"], error["details"][0]["reason"])

with session.get(f"{agent}/v1/services/changing.shop?watch=true", stream=True) as watch:
    events = watch.iter_lines(chunk_size=None)
    print("watch", *(json.loads(next(events))["type"] for _ in range(2)))
