#!/usr/bin/python3
"""Imitates the original Sidecar as far as an upgrade can notice it: one root process that listens itself,
reads its configuration as a shell does, and runs signed commands as dffs."""
import hashlib
import hmac
import json
import socketserver
import subprocess
import threading
from http.server import BaseHTTPRequestHandler

SOURCE = '. /etc/dataflux-func-sidecar; printf "%s\\n%s" "$BIND" "$SECRET_KEY"'
BIND, KEY = subprocess.run(["/bin/sh", "-eu", "-c", SOURCE], check=True, capture_output=True, text=True).stdout.split("\n")


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        signed = "\n".join(["POST", self.path, self.headers["X-Auth-Nonce"], self.headers["X-Auth-Timestamp"], ""]).encode() + body
        mac = hmac.new(KEY.encode(), signed, hashlib.sha1).hexdigest().upper()
        if not hmac.compare_digest(mac, self.headers["X-Auth-Signature"]):
            self.answer(403, {"ok": False, "message": "bad signature", "data": None})
            return
        run = subprocess.run(["/bin/sh", "-c", json.loads(body)["command"]], user="dffs", group="dffs", capture_output=True, text=True)
        self.answer(200, {"ok": True, "message": "", "data": {"stdout": run.stdout, "stderr": run.stderr}})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


socketserver.ThreadingTCPServer.allow_reuse_address = True
for address in BIND.split(","):
    host, port = address.rsplit(":", 1)
    threading.Thread(target=socketserver.ThreadingTCPServer((host, int(port)), Handler).serve_forever).start()
