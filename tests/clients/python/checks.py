"""gRPC: the details of an error, a deadline, a watch."""

import os
import time

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status
from pointsman.v1.agent_pb2 import PickRequest, WatchEvent, WatchServiceRequest
from pointsman.v1.agent_pb2_grpc import AgentStub


def connect(variable):
    return AgentStub(grpc.insecure_channel(os.environ[variable]))


def info(error):
    info = ErrorInfo()
    for detail in rpc_status.from_call(error).details:
        detail.Unpack(info)
    return info


agent, silent = connect("POINTSMAN_SOCKET"), connect("POINTSMAN_SILENT_SOCKET")

try:
    agent.Pick(PickRequest(service="crat.shop"))
except grpc.RpcError as error:
    print("error", error.code().name, info(error).reason, info(error).metadata["near"])

try:
    silent.Pick(PickRequest(service="cart.shop", wait=Duration(nanos=200_000_000)))
except grpc.RpcError as error:
    print("wait", error.code().name, info(error).reason)

began = time.monotonic()
try:
    silent.Pick(PickRequest(service="cart.shop", wait=Duration(seconds=5)), timeout=0.5)
except grpc.RpcError as error:
    print("deadline", error.code().name, round(1000 * (time.monotonic() - began)), "ms")

events = agent.WatchService(WatchServiceRequest(service="changing.shop"))
print("watch", *(WatchEvent.Type.Name(next(events).type) for _ in range(2)))
