"""Healthy until an invocation says {"healthy": false}; then pings get 503."""

import http.server
import json

state = {"healthy": True}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if state["healthy"]:
            self.answer(200, {"status": "Healthy"})
        else:
            self.answer(503, {"status": "Unhealthy", "reason": "it was told to be"})

    def do_POST(self):
        payload = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        state.update({k: v for k, v in payload.items() if k == "healthy"})
        self.answer(200, state)

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
