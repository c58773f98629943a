"""The machine of one run: starts a command and, when that ends or it is told to, kills all that descends from it.

    box.py [--no-network] COMMAND…

It is told to end by SIGTERM, or by its standard input closing: so nothing outlives the process that started it, however
that ended.  Exits with the command's status (128 + signal where a signal ended it), 137 where it was told to end.
"""
import ctypes
import os
import select
import signal
import sys

PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
KILLED = 137
libc = ctypes.CDLL(None, use_errno=True)


def children_of(root):
    """Process ids below root, as /proc shows them."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open("/proc/%s/stat" % entry, "rb") as file:
                    parents.setdefault(int(file.read().rsplit(b")", 1)[1].split()[1]), []).append(int(entry))
            except OSError:
                pass
    found, queue = [], [root]
    while queue:
        below = parents.get(queue.pop(), [])
        found += below
        queue += below
    return found


def empty():
    """Kills until no child is left; orphans come to us, because this process is a subreaper."""
    while True:
        for pid in children_of(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def without_network():
    """A namespace with no interface that is up; None where this machine allows none."""
    if libc.unshare(CLONE_NEWNET) and libc.unshare(CLONE_NEWUSER | CLONE_NEWNET):
        print("box: cannot take the network away", file=sys.stderr)
        os._exit(125)


def main(command):
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.append(1))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    told = []
    if command[0] == "--no-network":
        command = command[1:]
        without_network()
    first = os.fork()
    if first == 0:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        try:
            os.execvp(command[0], command)
        finally:
            os._exit(127)
    code = None
    while code is None and not told:
        ready = select.select([0, wake], [], [])[0]
        if 0 in ready and not os.read(0, 1):
            told.append(1)
        if wake in ready:
            os.read(wake, 4096)
        while code is None:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == first:
                code = os.waitstatus_to_exitcode(status)
    empty()
    os._exit(KILLED if code is None else code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main(sys.argv[1:])
