"""Tells what it is, what it got and what it can reach.

Any body of any type is taken: the answer has its length and SHA-256. If it is
a JSON object of at most 64 KiB, these keys do something first:

sleep    seconds to wait before answering
chunks   answer as an event stream: the report, then this many events
pause    seconds before each of these events (0.05)
size     bytes of text in each of these events (16)
bytes    answer with this many zero bytes instead of the report
busy     seconds for which pings say HealthyBusy
write    {path: text} to write
read     [path] to read, at most 64 KiB each
connect  ["host:port"] to connect to, with two seconds for each
log      text to print on standard error
exit     exit code to end with, at once
"""

import hashlib
import http.server
import json
import os
import socket
import sys
import threading
import time

started = time.time()
lock = threading.Lock()
count = 0
busy_until = 0.0
status_changed = int(started)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body written after its headers must not wait for their ACK

    def do_GET(self):
        status = "HealthyBusy" if time.time() < busy_until else "Healthy"
        changed = int(busy_until) if status == "Healthy" and busy_until else status_changed
        self.answer(json.dumps({"status": status, "time_of_last_update": changed}).encode())

    def do_POST(self):
        length, digest, options = self.read_body()
        if "log" in options:
            print(options["log"], file=sys.stderr, flush=True)
        if "exit" in options:
            os._exit(options["exit"])
        if "busy" in options:
            be_busy(options["busy"])
        answer = report(self, length, digest, options)
        time.sleep(options.get("sleep", 0))
        if "bytes" in options:
            self.answer_bytes(options["bytes"])
        elif "chunks" in options:
            self.answer_stream(answer, options)
        else:
            self.answer(json.dumps(answer).encode())

    def read_body(self):
        digest, length, head = hashlib.sha256(), 0, b""
        for part in self.body_parts():
            digest.update(part)
            length += len(part)
            if length <= 65536:
                head += part
        options = {}
        if length <= 65536:
            try:
                options = json.loads(head)
            except ValueError:
                pass
        return length, digest.hexdigest(), options if isinstance(options, dict) else {}

    def body_parts(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", 0))
        while left > 0 and (part := self.rfile.read(min(left, 1 << 20))):
            left -= len(part)
            yield part

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer_bytes(self, size):
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(size))
        self.end_headers()
        zeros = bytes(1 << 20)
        while size > 0:
            self.wfile.write(zeros[:size])
            size -= len(zeros)

    def answer_stream(self, first, options):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.event(first)
        for i in range(options["chunks"]):
            time.sleep(options.get("pause", 0.05))
            self.event({"chunk": i, "time": time.time(), "text": "x" * options.get("size", 16)})
        self.wfile.write(b"0\r\n\r\n")

    def event(self, value):
        data = f"data: {json.dumps(value)}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def log_message(self, *args):
        pass


def be_busy(seconds):
    global busy_until, status_changed
    if time.time() >= busy_until:
        status_changed = int(time.time())
    busy_until = time.time() + seconds


def report(request, length, digest, options):
    global count
    with lock:
        count += 1
        mine = count
        files = {name: append(folder) for name, folder in (("cwd", os.getcwd()), ("tmp", "/tmp"))}
    return {
        "count": mine,
        "pid": os.getpid(),
        "uid": os.getuid(),
        "gid": os.getgid(),
        "hostname": socket.gethostname(),
        "cwd": os.getcwd(),
        "started": started,
        "path": request.path,
        "headers": {k.lower(): v for k, v in request.headers.items()},
        "env": dict(os.environ),
        "body": {"length": length, "sha256": digest},
        "files": files,
        "written": {p: attempt(write, p, text) for p, text in options.get("write", {}).items()},
        "read": {p: attempt(read, p) for p in options.get("read", [])},
        "connect": {a: attempt(connect, a) for a in options.get("connect", [])},
    }


def append(folder):
    """Add a line to echo.txt in the folder; how many calls of this session have done so."""
    path = os.path.join(folder, "echo.txt")

    def add():
        with open(path, "a+") as f:
            f.write("called\n")
            f.seek(0)
            return len(f.readlines())

    return attempt(add)


def write(path, text):
    with open(path, "w") as f:
        return f.write(text)


def read(path):
    with open(path, "rb") as f:
        return f.read(65536).decode(errors="replace")


def connect(address):
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=2):
        return "connected"


def attempt(do, *args):
    """What do returned, or {"error": …} with what it raised."""
    try:
        return do(*args)
    except OSError as e:
        return {"error": f"{type(e).__name__}: {e}"}


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


Server(("0.0.0.0", 8080), Handler).serve_forever()
