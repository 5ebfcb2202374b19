"""Streams three events of an answer, then breaks off as {"how": …} says:

close    ends the connection without the end of the chunked body (the default)
reset    resets the connection
exit     ends the whole process with code 1
headers  closes before it has answered anything
"""

import http.server
import json
import os
import socket
import struct
import sys
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b'{"status": "Healthy"}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        payload = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            how = json.loads(payload)["how"]
        except (ValueError, KeyError, TypeError):
            how = "close"
        self.close_connection = True
        if how == "headers":
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for i in range(3):
            event = f'data: "chunk {i}"\n\n'.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            time.sleep(0.05)
        print(f"breaking off: {how}", file=sys.stderr, flush=True)
        if how == "reset":  # lingering for no time at all makes close send RST, if no shutdown came before
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
        elif how == "exit":
            os._exit(1)

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
