"""Healthy after three seconds: for half of them the port is closed, then pings get 503.

SLOW_START_SECONDS sets another time.
"""

import http.server
import json
import os
import time

seconds = float(os.environ.get("SLOW_START_SECONDS") or 3)
healthy_at = time.monotonic() + seconds
answered = 0


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if time.monotonic() < healthy_at:
            self.answer(503, {"status": "Starting"})
        else:
            self.answer(200, {"status": "Healthy"})

    def do_POST(self):
        global answered
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answered += 1
        # early is true when a request came before the agent was healthy, which must never happen.
        self.answer(200, {"answered": answered, "early": time.monotonic() < healthy_at, "pid": os.getpid()})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


time.sleep(seconds / 2)
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
