"""An echo for phone calls: a thread per call, blocking sockets, no event loop."""

import sys
import time

from application import react
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from callstream_core import AppSession, State, dialects
from callstream_core.outputs import CloseLink, Output, Transmit


def run_call(socket: ServerConnection) -> None:
    clock = time.monotonic
    session = AppSession(dialects.get("asterisk"), now=clock())

    def perform(outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Transmit):
                socket.send(output.message)
            elif isinstance(output, CloseLink):
                socket.close(output.code or 1000, output.reason)
            for command in react(output):
                perform(session.send(command, clock()))

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
        perform(session.receive_close(closed.rcvd.code if closed.rcvd else None, clock()))


def main(port: int = 8787) -> None:
    with serve(run_call, "127.0.0.1", port, subprotocols=["media"], compression=None, ping_interval=None) as server:
        print(server.socket.getsockname()[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
