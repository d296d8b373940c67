"""Servers that answer every call with their own port.

echo.py GRPC HTTP [ADDRESS]: starts so many for gRPC and for HTTP/1.1, prints the ports, then serves until it is
ended. The address is loopback's unless another one is given.
"""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc

ADDRESS = sys.argv[3] if len(sys.argv) > 3 else "127.0.0.1"


class Echo(grpc.GenericRpcHandler):
    def __init__(self):
        self.port = None

    def service(self, call):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: str(self.port).encode())


def start():
    echo = Echo()
    # Without so_reuseport no two of them can get the same port.
    server = grpc.server(ThreadPoolExecutor(4), handlers=[echo], options=[("grpc.so_reuseport", 0)])
    echo.port = server.add_insecure_port(f"{ADDRESS}:0")
    server.start()
    return server, echo.port


class EchoOfHttp(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer in one packet. The second of two would wait 40 ms for the first to be acknowledged.
    wbufsize = -1

    def do_POST(self):
        port = str(self.server.server_address[1]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(port)))
        self.end_headers()
        self.wfile.write(port)

    def log_message(self, *arguments):
        pass


def start_http():
    server = ThreadingHTTPServer((ADDRESS, 0), EchoOfHttp)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, server.server_address[1]


servers = [start() for _ in range(int(sys.argv[1]))]
servers += [start_http() for _ in range(int(sys.argv[2]))]
print(*(port for _, port in servers), flush=True)
servers[0][0].wait_for_termination()
