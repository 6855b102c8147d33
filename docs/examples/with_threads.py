"""An echo for phone calls: a thread per call, blocking sockets, no event loop."""

import struct
import sys
from socket import SO_SNDTIMEO, SOL_SOCKET
from time import monotonic as clock

from application import choose, react
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from callstream_core import AppSession, State, detect
from callstream_core.outputs import CloseLink, Output, Transmit

OPTIONS = {
    "process_request": lambda link, request: None if detect(path=request.path) else link.respond(404, "no such path"),
    "select_subprotocol": lambda link, offered: choose(offered),
    "compression": None,
    "ping_interval": None,
    "close_timeout": 2,
}


def run_call(socket: ServerConnection) -> None:
    session = AppSession(detect(path=socket.request.path), now=clock())
    # A platform that does not read what we send ends the call, after five seconds.
    socket.socket.setsockopt(SOL_SOCKET, SO_SNDTIMEO, struct.pack("ll", 5, 0))

    def perform(outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Transmit):
                socket.send(output.message)
            elif isinstance(output, CloseLink):
                socket.close(output.code or 1000, output.reason)
            for command in react(session, output):
                perform(session.send(command, clock()))

    code = None
    try:
        while session.state is not State.CLOSED:
            deadline = session.next_timeout()
            try:
                message = socket.recv(None if deadline is None else max(deadline - clock(), 0))
                perform(session.receive(message, clock()))
            except TimeoutError:
                pass
            perform(session.handle_timeout(clock()))
    except ConnectionClosed as closed:
        code = closed.rcvd.code if closed.rcvd else None
    perform(session.receive_close(code, clock()))


def main(port: int = 8787) -> None:
    with serve(run_call, "127.0.0.1", port, **OPTIONS) as server:
        print(server.socket.getsockname()[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
