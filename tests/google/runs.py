"""Really runs a notebook: its code cells one after another, in a Python of their own, in a box that ends all of it.

    run = NotebookRun(document, gpus=[("Tesla T4", 15360)])
    run.poll()          None while it runs, then the exit status: 0, or not where a cell has raised
    run.halt()          ends all its processes at once
    run.executed()      the notebook with its outputs so far
    run.sweep()         removes its files
"""
import copy
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading

from kernels import SMI

# Runs in the box.  What a cell and its children write is caught at the descriptors, as a kernel does it.
DRIVER = r'''
import json, os, sys, traceback
directory = sys.argv[1]
with open(os.path.join(directory, "cells.json"), encoding="utf-8") as file:
    cells = json.load(file)
del sys.argv[1:]
import __main__
space = __main__.__dict__
for number, source in cells:
    for stream, name in ((1, "stdout"), (2, "stderr")):
        fd = os.open(os.path.join(directory, "%d.%s" % (number, name)), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(fd, stream)
        os.close(fd)
    try:
        exec(compile(source, "<ipython-input-%d>" % number, "exec"), space)
    except SystemExit as e:
        # A kernel does not end by it: the cell does.
        error = {"ename": "SystemExit", "evalue": str(e), "traceback": ["An exception has occurred, use %tb to see the full traceback.\n", "\x1b[0;31mSystemExit\x1b[0m\x1b[0;31m:\x1b[0m " + str(e)]}
    except BaseException as e:
        error = {"ename": type(e).__name__, "evalue": str(e), "traceback": ["\x1b[0;31m---\x1b[0m"] + traceback.format_exc().splitlines()}
    else:
        error = None
    sys.stdout.flush()
    sys.stderr.flush()
    if error:
        with open(os.path.join(directory, "%d.error" % number), "w") as file:
            json.dump(error, file)
        os._exit(1)
    open(os.path.join(directory, "%d.done" % number), "w").close()
os._exit(0)
'''


def check(document):
    """What makes it a notebook; raises ValueError."""
    if not isinstance(document, dict) or document.get("nbformat") != 4 or not isinstance(document.get("nbformat_minor"), int):
        raise ValueError("nbformat must be 4")
    if set(document) != {"nbformat", "nbformat_minor", "metadata", "cells"} or not isinstance(document["metadata"], dict):
        raise ValueError("members of a notebook are nbformat, nbformat_minor, metadata and cells")
    for cell in document["cells"]:
        wanted = {"cell_type", "metadata", "source"} | ({"execution_count", "outputs"} if cell.get("cell_type") == "code" else set())
        if cell.get("cell_type") not in ("code", "markdown", "raw") or set(cell) - {"id"} != wanted:
            raise ValueError("a cell is wrong: %s" % sorted(cell))
        if not isinstance(cell["source"], (str, list)) or (cell["cell_type"] == "code" and not isinstance(cell["outputs"], list)):
            raise ValueError("a cell's source or outputs are wrong")
    return document


def source_of(cell):
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])


def translate(source):
    """Lines that are not Python: shell commands and magics, of which a few are known."""
    lines = []
    for line in source.split("\n"):
        shell = re.match(r"(\s*)!(.*)", line)
        lines.append("%s__import__('subprocess').run(%r, shell=True)" % (shell.group(1), shell.group(2)) if shell else line)
    return "\n".join(lines)


class NotebookRun:
    def __init__(self, document, gpus=(), tpu=None, environment=None, internet=True):
        self.document = check(copy.deepcopy(document))
        self.directory = tempfile.mkdtemp(prefix="google-run-")
        os.chmod(self.directory, 0o755)
        for name in ("content", "bin", "tmp", "root", "cells"):
            path = os.path.join(self.directory, name)
            os.makedirs(path)
            os.chmod(path, 0o1777 if name == "tmp" else 0o755)
        self.cells = os.path.join(self.directory, "cells")
        code = [(i, translate(source_of(cell))) for i, cell in enumerate(self.document["cells"]) if cell["cell_type"] == "code"]
        with open(os.path.join(self.cells, "cells.json"), "w", encoding="utf-8") as file:
            json.dump(code, file)
        with open(os.path.join(self.directory, "driver.py"), "w") as file:
            file.write(DRIVER)
        env = {"PATH": self.directory + "/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": self.directory + "/root",
               "TMPDIR": self.directory + "/tmp", "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})}
        if tpu:
            env["TPU_ACCELERATOR_TYPE"] = tpu
        self._accelerator(gpus)
        box = [sys.executable, "-I", "-S", os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "kaggle", "box.py")]
        self.lock, self.exit_code = threading.Lock(), None
        self.box = subprocess.Popen([*box, *([] if internet else ["--no-network"]), "/usr/bin/python3", self.directory + "/driver.py", self.cells],
                                    env=env, cwd=self.directory + "/content", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL, start_new_session=True)

    def _accelerator(self, gpus):
        path = os.path.join(self.directory, "bin", "nvidia-smi")
        if gpus:
            text = SMI % "".join("gpu %d '%s' %d\n" % (i, name, memory) for i, (name, memory) in enumerate(gpus))
        elif shutil.which("nvidia-smi", path="/usr/bin:/bin"):
            text = "#!/bin/sh\nexit 9\n"        # this machine's own GPUs are not Google's
        else:
            return
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o755)

    def poll(self):
        if self.box is not None and self.box.poll() is not None:
            self.halt()
        return self.exit_code

    def halt(self):
        """Returns when no process of it is left."""
        with self.lock:
            if self.box is None:
                return
            if self.box.poll() is None:
                self.box.terminate()
                self.box.wait(20)
            self.exit_code = self.box.returncode
            self.box.stdin.close()
            self.box = None

    def _read(self, number, what):
        try:
            with open(os.path.join(self.cells, "%d.%s" % (number, what)), "rb") as file:
                return file.read().decode("utf-8", "replace")
        except OSError:
            return ""

    def executed(self):
        document, count = copy.deepcopy(self.document), 0
        for number, cell in enumerate(document["cells"]):
            if cell["cell_type"] != "code":
                continue
            outputs = [{"output_type": "stream", "name": name, "text": text.splitlines(True)}
                       for name in ("stdout", "stderr") if (text := self._read(number, name))]
            error = self._read(number, "error")
            if error:
                outputs.append({"output_type": "error", **json.loads(error)})
            if outputs or os.path.exists(os.path.join(self.cells, "%d.done" % number)):
                count += 1
                cell.update(outputs=outputs, execution_count=count)
        return document

    def sweep(self):
        self.halt()
        shutil.rmtree(self.directory, ignore_errors=True)
