"""Servers on loopback that answer every call with their own port.

echo.py NUMBER: prints the ports, then serves until it is ended.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc


class Echo(grpc.GenericRpcHandler):
    def __init__(self):
        self.port = None

    def service(self, call):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: str(self.port).encode())


def start():
    echo = Echo()
    # Without so_reuseport no two of them can get the same port.
    server = grpc.server(ThreadPoolExecutor(4), handlers=[echo], options=[("grpc.so_reuseport", 0)])
    echo.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, echo.port


servers = [start() for _ in range(int(sys.argv[1]))]
print(*(port for _, port in servers), flush=True)
servers[0][0].wait_for_termination()
