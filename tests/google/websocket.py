"""The server's side of a WebSocket (RFC 6455), strict with its client.  No thread of its own."""
import base64
import hashlib
import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MOST = 16 << 20


class Gone(ConnectionError):
    """The connection is over; .code is the client's close code, None where it just ended."""

    def __init__(self, code=None):
        super().__init__("closed" if code else "ended")
        self.code = code


class Broken(Exception):
    """The client did what the protocol forbids."""


def accept_key(key):
    return base64.b64encode(hashlib.sha1(key.encode() + MAGIC).digest()).decode()


def refusal(headers):
    """Why these request headers open no WebSocket, or None."""
    if headers.get("Upgrade", "").lower() != "websocket":
        return "no Upgrade: websocket"
    if "upgrade" not in [part.strip().lower() for part in headers.get("Connection", "").split(",")]:
        return "no Connection: Upgrade"
    if headers.get("Sec-WebSocket-Version") != "13":
        return "not version 13"
    try:
        if len(base64.b64decode(headers.get("Sec-WebSocket-Key", ""), validate=True)) != 16:
            return "the key is not of 16 bytes"
    except ValueError:
        return "the key is not base64"
    return None


def frame(opcode, payload, fin=True, mask=False):
    head = bytes([opcode | (0x80 if fin else 0)])
    bit = 0x80 if mask else 0
    if len(payload) < 126:
        head += bytes([bit | len(payload)])
    elif len(payload) < 1 << 16:
        head += struct.pack("!BH", bit | 126, len(payload))
    else:
        head += struct.pack("!BQ", bit | 127, len(payload))
    return head + (b"\0\0\0\0" if mask else b"") + payload


def fragments(opcode, payload, pieces):
    """The frames of one message in so many pieces; a ping goes between the first two."""
    size = max(1, -(-len(payload) // pieces))
    parts = [payload[i:i + size] for i in range(0, len(payload), size)] or [b""]
    frames = [frame(CONTINUATION if i else opcode, part, i == len(parts) - 1) for i, part in enumerate(parts)]
    return frames[:1] + [frame(PING, b"between")] + frames[1:] if len(frames) > 1 else frames


class Connection:
    """One that was opened; `sock` is the socket, `file` what reads from it (some of it may have been read ahead)."""

    def __init__(self, sock, file):
        self.sock, self.file = sock, file
        self.pongs = []

    def _read(self, n):
        try:
            data = self.file.read(n)
        except (OSError, ValueError):
            raise Gone() from None
        if len(data) < n:
            raise Gone()
        return data

    def _frame(self):
        first, second = self._read(2)
        opcode, length = first & 15, second & 127
        if first & 0x70:
            raise Broken("a reserved bit is set")
        if not second & 128:
            raise Broken("a client's frame is not masked")
        if opcode >= 8 and (length > 125 or not first & 128):
            raise Broken("a control frame is long or in pieces")
        if length == 126:
            length = struct.unpack("!H", self._read(2))[0]
        elif length == 127:
            length = struct.unpack("!Q", self._read(8))[0]
        if length > MOST:
            raise Broken("a frame of %d bytes" % length)
        mask = self._read(4)
        data = self._read(length)
        data = bytes(b ^ mask[i & 3] for i, b in enumerate(data)) if mask != b"\0\0\0\0" else data
        return bool(first & 128), opcode, data

    def receive(self):
        """The next whole message as (opcode, bytes); pings are answered, pongs kept."""
        whole, kind = b"", None
        while True:
            fin, opcode, data = self._frame()
            if opcode == PING:
                self.send_raw(frame(PONG, data))
            elif opcode == PONG:
                self.pongs.append(data)
            elif opcode == CLOSE:
                code = struct.unpack("!H", data[:2])[0] if len(data) >= 2 else 1005
                try:
                    self.send_raw(frame(CLOSE, data[:2]))
                except Gone:
                    pass
                raise Gone(code)
            elif opcode not in (CONTINUATION, TEXT, BINARY) or (opcode == CONTINUATION) != (kind is not None):
                raise Broken("opcode %d out of place" % opcode)
            else:
                kind = kind or opcode
                whole += data
                if len(whole) > MOST:
                    raise Broken("a message of %d bytes" % len(whole))
                if fin:
                    if kind == TEXT:
                        whole.decode("utf-8")
                    return kind, whole

    def pong(self):
        """Waits for one."""
        opcode = None
        while opcode != PONG:
            _, opcode, data = self._frame()
        self.pongs.append(data)

    def send_raw(self, data):
        try:
            self.sock.sendall(data)
        except OSError:
            raise Gone() from None

    def send(self, text, pieces=1):
        data = text.encode() if isinstance(text, str) else text
        for part in fragments(TEXT, data, pieces) if pieces > 1 else [frame(TEXT, data)]:
            self.send_raw(part)

    def close(self, code=1000):
        self.send_raw(frame(CLOSE, struct.pack("!H", code)))
