"""A kernel of its own kind: runs code as it comes, one after another, in one namespace.

    kernel.py IN OUT        descriptors: lines {"id", "code"}; lines {"id", "stream"}, then {"id", "status", …}
"""
import io
import json
import os
import sys
import traceback


class Stream(io.TextIOBase):
    def __init__(self, out):
        self.out, self.id = out, None

    def writable(self):
        return True

    def write(self, text):
        tell(self.out, {"id": self.id, "stream": text})
        return len(text)


def tell(out, event):
    out.write(json.dumps(event).encode() + b"\n")
    out.flush()


def main():
    for fd in (int(sys.argv[1]), int(sys.argv[2])):
        os.set_inheritable(fd, False)
    come, out = os.fdopen(int(sys.argv[1]), "rb"), os.fdopen(int(sys.argv[2]), "wb")
    space = {"__name__": "__main__"}
    sys.stdout = sys.stderr = Stream(out)
    for line in come:
        ask = json.loads(line)
        sys.stdout.id = ask["id"]
        try:
            exec(compile(ask["code"], "<cell>", "exec"), space)
            tell(out, {"id": ask["id"], "status": "ok"})
        except BaseException as e:
            tell(out, {"id": ask["id"], "status": "error", "ename": type(e).__name__, "evalue": str(e), "traceback": traceback.format_exc().split("\n")})


if __name__ == "__main__":
    main()
