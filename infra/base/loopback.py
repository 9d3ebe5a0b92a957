"""This machine's own address: which of its ports are free, who holds the others, and who answers there."""

import itertools
import random
import socket

import psutil
import requests

from infra.base.errors import SmartmeterError

HOST = "127.0.0.1"
FREE_PORT_RANGE = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """`count` different ports that nobody listens on now; nothing keeps them free until they are used.

    From below the range that systems give to outgoing connections: a client that keeps calling a server that is down
    would sooner or later be given that server's own port, connect to itself, and keep the server from coming back.
    """
    candidates = random.sample(FREE_PORT_RANGE, len(FREE_PORT_RANGE))
    ports = list(itertools.islice(filter(is_free, candidates), count))
    if len(ports) < count:
        raise SmartmeterError(
            f"no {count} free ports from {FREE_PORT_RANGE.start} to {FREE_PORT_RANGE.stop}: name them"
        )
    return ports


def chosen_port(port: int) -> int:
    """The port that a --port option names, or any free one for 0. Raises SmartmeterError when it is taken."""
    if port == 0:
        return free_ports(1)[0]
    if not is_free(port):
        raise SmartmeterError(f"port {port} is taken by {holder(port)}: choose another with --port (0: any free one)")
    return port


def is_free(port: int) -> bool:
    """Whether a server can listen on the port now."""
    with socket.socket() as probe:
        # Connections that linger after a stopped server do not count; somebody who listens does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def accepts(port: int) -> bool:
    """Whether somebody accepts connections on the port."""
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex((HOST, port)) == 0


def get(url: str) -> requests.Response | None:
    """The answer to a GET, or None where nobody answers; never through a proxy that the environment names."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(url, timeout=5)
        except requests.RequestException:
            return None


def holder(port: int) -> str:
    """Who listens on the port: `name (pid N)`, or a phrase where the system does not tell."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            here = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if here and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        pass  # the system does not tell: the caller's sentence stands without it
    return "another process"
