"""Ask ports for work without a token: ``python -m tests.workers.probe HOST PORT...`` prints the answers.

A port that answers is given a minute to do so, as a busy machine may need; only a silent one costs that.
"""

import http.client
import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

SILENT_S = 60
METHODS = (
    "NodeInfoGcsService/GetAllNodeInfo",
    "InternalKVGcsService/InternalKVKeys",
    "NodeManagerService/GetNodeStats",
    "ObjectManagerService/Pull",
    "CoreWorkerService/GetCoreWorkerStats",
    "RayletDriver/ClusterInfo",
)


def speaks_grpc(host, port):
    """Return the status of every method that is asked for without a token."""
    import grpc

    answers = set()
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        for method in METHODS:
            try:
                channel.unary_unary(f"/ray.rpc.{method}")(b"", timeout=SILENT_S)
                answers.add("OK")
            except grpc.RpcError as error:
                answers.add(error.code().name)
    return answers


def speaks_http(host, port):
    """Return the status of a request, None when it is no HTTP."""
    connection = http.client.HTTPConnection(host, port, timeout=SILENT_S)
    try:
        connection.request("POST", "/get_or_create_runtime_env", body=b"")
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def probe(host, port):
    try:
        socket.create_connection((host, port), timeout=SILENT_S).close()
    except OSError:
        return ["closed"]
    status = speaks_http(host, port)
    return [status] if status else sorted(speaks_grpc(host, port))


if __name__ == "__main__":
    host, *ports = sys.argv[1:]
    with ThreadPoolExecutor(len(ports)) as pool:
        answers = pool.map(lambda port: probe(host, int(port)), ports)
        print(json.dumps(dict(zip(ports, answers, strict=True))))
