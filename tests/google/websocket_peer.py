"""A WebSocket server whose behaviour the path names, for tests of our client.  Prints "port N"; ends with its input.

    websocket_peer.py [KEY CERTIFICATE]
"""
import json
import os
import socket
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import websocket
from websocket import BINARY, CLOSE, CONTINUATION, PING, TEXT, Gone, frame

released = threading.Event()    # what stalls does so until the end


def echo(c, _):
    while True:
        kind, data = c.receive()
        c.send_raw(frame(kind, data))


def sized(c, argument):
    c.send("x" * int(argument))
    echo(c, None)


def endless(c, _):
    c.send_raw(frame(TEXT, b"x" * 60000, fin=False))
    while True:
        c.send_raw(frame(CONTINUATION, b"x" * 60000, fin=False))


def pieces(c, argument):
    c.send("".join(chr(97 + i % 26) for i in range(1000)), int(argument))
    echo(c, None)


def bytewise(c, _):
    for byte in b"".join(websocket.fragments(TEXT, "grüße".encode(), 3)):
        c.send_raw(bytes([byte]))
    echo(c, None)


def pings(c, _):
    """Three, each when the last one was answered; then what came back for them."""
    for i in range(3):
        c.send_raw(frame(PING, b"p%d" % i))
        c.pong()
    c.send(b" ".join(c.pongs))
    echo(c, None)


def many(c, argument):
    for i in range(int(argument)):
        c.send("message %d" % i)
    echo(c, None)


def close(c, argument):
    c.send("last words")
    c.close(int(argument))
    try:
        c.receive()
    except Gone:
        pass


def abrupt(c, _):
    c.send("last words")
    c.receive()
    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")    # a reset
    c.file.close()
    c.sock.close()


def half(c, _):
    """A frame that is never ended."""
    c.send_raw(frame(TEXT, b"x" * 100)[:50])


def stall(c, _):
    released.wait(600)


def deaf(c, _):
    """Reads nothing."""
    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    released.wait(600)


def raw(data):
    def behave(c, _):
        c.send_raw(data)
        echo(c, None)
    return behave


def goodbye(c, _):
    """Leaves the client's close code in the file named by the first message."""
    path = c.receive()[1].decode()
    c.send("ready")
    try:
        c.receive()
    except Gone as gone:
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(str(gone.code))
        os.rename(path + ".new", path)


BEHAVIOURS = {
    "echo": echo, "sized": sized, "endless": endless, "pieces": pieces, "bytewise": bytewise, "pings": pings, "many": many, "close": close,
    "abrupt": abrupt, "half": half, "stall": stall, "deaf": deaf, "goodbye": goodbye,
    "binary": raw(frame(BINARY, b"\0\1\2")),
    "reserved": raw(b"\xf1\x01x"),
    "opcode": raw(frame(3, b"x")),
    "orphan": raw(frame(CONTINUATION, b"x")),
    "nested": raw(frame(TEXT, b"x", fin=False) + frame(TEXT, b"y")),
    "longping": raw(frame(PING, b"x" * 126)),
    "badclose": raw(frame(CLOSE, b"\x03")),
    "badtext": raw(frame(TEXT, b"\xff\xfe")),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, headers=()):
        self.close_connection = True
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        name, _, argument = self.path.split("?")[0][1:].partition("/")
        if name == "status":
            return self.answer(int(argument))
        if name == "redirect":
            return self.answer(302, [("Location", "/echo")])
        if name == "silent":
            return released.wait(600)
        if name == "garbage":
            self.close_connection = True
            return self.wfile.write(b"what is this\r\n\r\n")
        wrong = websocket.refusal(self.headers)
        if wrong:
            return self.answer(400)
        key = "0" * 27 + "=" if name == "wrongkey" else websocket.accept_key(self.headers["Sec-WebSocket-Key"])
        self.wfile.write(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Accept: %s\r\n\r\n" % key).encode())
        self.close_connection = True
        c = websocket.Connection(self.connection, self.rfile)
        try:
            if name == "request":
                c.send(json.dumps({"path": self.path, "headers": [[k.lower(), v] for k, v in self.headers.items()]}))
                echo(c, None)
            else:
                BEHAVIOURS.get(name, echo)(c, argument)
        except (Gone, websocket.Broken, OSError, ValueError):
            pass
        return None


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if len(sys.argv) > 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2], sys.argv[1])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("port %d" % server.server_address[1], flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
