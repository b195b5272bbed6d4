"""A minimal application server in Python (3.9 or newer, standard library only).

It keeps the API key, decides who may speak, and sends people to Stentor's pages.

    STENTOR_API=http://127.0.0.1:3000 STENTOR_API_KEY=... python3 server.py

    GET  /                  a page with one form
    POST /speak  name=Ann   303 to the speaking page of the room, with a token for Ann
    GET  /listen            303 to the listen page, with a listener token

Replace `may_speak` with the sign-in of your application.
"""

import json
import os
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError
from urllib.parse import parse_qs, urljoin
from urllib.request import Request, urlopen

API = os.environ.get("STENTOR_API", "http://127.0.0.1:3000")
KEY = os.environ.get("STENTOR_API_KEY")
ROOM = os.environ.get("ROOM", "example")
PORT = int(os.environ.get("PORT", "4000"))

PAGE = f"""<!doctype html><meta name="viewport" content="width=device-width"><title>Example</title>
<h1>{ROOM}</h1><form method="post" action="/speak"><label>Name <input name="name" required></label>
<button>Speak</button></form><p><a href="/listen">Listen</a></p>"""


class Refused(Exception):
    """An answer of the REST API that is not a success; `code` is stable."""

    def __init__(self, answer):
        super().__init__(answer["error"])
        self.code = answer["code"]


def stentor(method, path, body=None):
    """Calls the REST API and returns its answer. Raises `Refused`."""
    headers = {"content-type": "application/json"}
    if KEY:
        headers["authorization"] = f"Bearer {KEY}"
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"{API}/api/{path}", data, headers, method=method)
    try:
        with urlopen(request, timeout=10) as response:
            return json.load(response)
    except HTTPError as error:
        raise Refused(json.load(error)) from error


def open_room():
    """Creates the room and puts it on air. Safe to repeat."""
    try:
        stentor("POST", "rooms", {"roomId": ROOM})
    except Refused as refused:
        if refused.code != "room_exists":
            raise
    stentor("POST", f"rooms/{ROOM}/start")


def may_speak(name):
    """Returns the user id of the person, or None if they may not speak."""
    return name if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) else None


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/":
            self.answer(200, PAGE, "text/html")
        elif self.path == "/listen":
            self.guarded(self.listen)
        else:
            self.answer(404, "Not found.\n")

    def do_POST(self):
        if self.path == "/speak":
            self.guarded(self.speak)
        else:
            self.answer(404, "Not found.\n")

    def speak(self):
        length = min(int(self.headers.get("content-length", 0)), 4096)
        form = parse_qs(self.rfile.read(length).decode("utf-8", "replace"))
        user = may_speak(form.get("name", [""])[0])
        if user is None:
            self.answer(403, "Use a name of 1 to 64 letters, digits, dots, dashes or underscores.\n")
            return
        invited = stentor("POST", f"rooms/{ROOM}/users", {"role": "anchor", "userId": user})
        self.redirect(invited["inviteUrl"])

    def listen(self):
        token = stentor("POST", "token", {"roomId": ROOM})["token"]
        hls_url = stentor("GET", f"rooms/{ROOM}")["room"]["hlsUrl"]
        self.redirect(urljoin(hls_url, f"/listen/{ROOM}#token={token}"))

    def guarded(self, handle):
        try:
            handle()
        except (Refused, OSError) as error:
            print(f"{self.command} {self.path}: {error}", file=sys.stderr)
            self.answer(502, "The audio server did not accept the request.\n")

    def redirect(self, location):
        self.send_response(303)
        self.send_header("location", location)
        self.send_header("cache-control", "no-store")
        self.send_header("content-length", "0")
        self.end_headers()

    def answer(self, status, text, kind="text/plain"):
        body = text.encode()
        self.send_response(status)
        self.send_header("content-type", f"{kind}; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Logs nothing, because request lines of an application may contain names."""


if __name__ == "__main__":
    open_room()
    with ThreadingHTTPServer(("127.0.0.1", PORT), Handler) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}/", flush=True)
        server.serve_forever()
