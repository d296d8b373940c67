"""gRPC under asyncio: the details of an error, a deadline, a watch."""

import asyncio
import os
import time

import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status
from pointsman.v1.agent_pb2 import PickRequest, WatchEvent, WatchServiceRequest
from pointsman.v1.agent_pb2_grpc import AgentStub


def connect(variable):
    return AgentStub(grpc.aio.insecure_channel(os.environ[variable]))


def info(error):
    info = ErrorInfo()
    for detail in rpc_status.from_call(error).details:
        detail.Unpack(info)
    return info


async def main():
    agent, silent = connect("POINTSMAN_SOCKET"), connect("POINTSMAN_SILENT_SOCKET")

    try:
        await agent.Pick(PickRequest(service="crat.shop"))
    except grpc.aio.AioRpcError as error:
        print("error", error.code().name, info(error).reason, info(error).metadata["near"])

    try:
        await silent.Pick(PickRequest(service="cart.shop", wait=Duration(nanos=200_000_000)))
    except grpc.aio.AioRpcError as error:
        print("wait", error.code().name, info(error).reason)

    began = time.monotonic()
    try:
        await silent.Pick(PickRequest(service="cart.shop", wait=Duration(seconds=5)), timeout=0.5)
    except grpc.aio.AioRpcError as error:
        print("deadline", error.code().name, round(1000 * (time.monotonic() - began)), "ms")

    events = agent.WatchService(WatchServiceRequest(service="changing.shop"))
    print("watch", *[WatchEvent.Type.Name((await events.read()).type) for _ in range(2)])


asyncio.run(main())
