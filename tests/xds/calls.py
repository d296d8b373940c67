"""Calls an echo server again and again, one call after the other, like a program that knows nothing of xDS
but the name that it calls. Prints a line for each call:

    when it began (ms since 1970)   how many ms it took   the port that answered, or a status and its text

calls.py TARGET... [--number N] [--pause MS] [--path PATH]: N calls of each target, one target after the other, or
until it is ended.
"""

import argparse
import itertools
import time

import grpc

arguments = argparse.ArgumentParser()
arguments.add_argument("targets", nargs="+", metavar="target")
arguments.add_argument("--number", type=int)
arguments.add_argument("--pause", type=int, default=5)
arguments.add_argument("--path", default="/echo/Call")
arguments = arguments.parse_args()

# Longer than the 15 s for which a client of xDS waits for a server that says nothing, so that the time of
# such a call is seen.
DEADLINE = 20

for target in arguments.targets:
    channel = grpc.insecure_channel(target)
    call = channel.unary_unary(arguments.path)
    for _ in itertools.count() if arguments.number is None else range(arguments.number):
        began = time.time()
        try:
            said = call(b"", timeout=DEADLINE).decode()
        except grpc.RpcError as error:
            said = " ".join([error.code().name, *error.details().split()])
        print(int(1000 * began), int(1000 * (time.time() - began)), said, flush=True)
        time.sleep(arguments.pause / 1000)
    channel.close()
