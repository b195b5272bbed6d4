"""Tests of the package. The tests of the room API need a node: STENTOR_API, STENTOR_HLS, STENTOR_API_KEY and
STENTOR_JWT_SECRET (`kid:secret`)."""

import asyncio
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import unittest
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx

from stentor_sdk import StentorError, TokenSigner, WebhookError, WebhookVerifier, connect, follow, pages
from stentor_sdk.rest.api.rooms import create_room, delete_room, list_rooms, start_room, update_room
from stentor_sdk.rest.api.users import create_user
from stentor_sdk.rest.models import Code, CreateRoom, CreateUser, UpdateRoom, UserRole
from stentor_sdk.rest.types import UNSET

API, HLS, KEY, SECRET = (
    os.environ.get(f"STENTOR_{name}", "") for name in ("API", "HLS", "API_KEY", "JWT_SECRET")
)
ROOM = f"python-sdk-{os.getpid()}"
VECTORS = pathlib.Path(__file__).resolve().parents[2] / "webhooks.json"


class Webhooks(unittest.TestCase):
    def test_webhooks_are_verified(self):
        for case in json.loads(VECTORS.read_text())["cases"]:
            headers = {
                "webhook-id": case["id"],
                "Webhook-Timestamp": case["timestamp"],
                "webhook-signature": case["signature"],
            }
            verifier = WebhookVerifier(*case["secrets"])
            for body in (case["body"], case["body"].encode()):
                with self.subTest(case["name"]):
                    if case["accepted"]:
                        content = verifier.verify(body, headers, case["now"])
                        self.assertEqual(content, json.loads(case["body"]))
                    else:
                        self.assertRaises(WebhookError, verifier.verify, body, headers, case["now"])
        self.assertRaises(ValueError, WebhookVerifier)
        self.assertRaises(ValueError, WebhookVerifier, "whsec_???")


class Tokens(unittest.TestCase):
    def test_bad_secrets_are_refused(self):
        for bad in ("", "k1", "k1:short", ":" + "x" * 40):
            self.assertRaises(ValueError, TokenSigner, bad)


class Streams(unittest.TestCase):
    def test_lost_stream_is_continued(self):
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                event = json.dumps({
                    "id": "evt", "cursor": f"{len(asked)}.0", "type": "room_created", "roomId": "demo", "time": "",
                    "data": {},
                })  # fmt: skip
                if len(asked) == 1:
                    self.send_response(503)
                    self.send_header("retry-after", "0")
                    text = '{"error":"later","code":"too_many_clients"}'
                else:
                    self.send_response(200)
                    text = f": comment\n\nid: {len(asked)}.0\ndata: {event}\n\n"
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format, *args):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stream = follow(connect(f"http://127.0.0.1:{server.server_port}"), after="0")
        cursors = [next(stream).cursor, next(stream).cursor]
        stream.close()
        server.shutdown()
        server.server_close()
        self.assertEqual(cursors, ["2.0", "3.0"])
        self.assertEqual(asked, [f"/api/events?after={after}" for after in ("0", "0", "2.0")])


@unittest.skipUnless(API, "no node")
class Rooms(unittest.TestCase):
    def refused(self, call, *args, **named) -> StentorError:
        with self.assertRaises(StentorError) as caught:
            call(*args, **named)
        return caught.exception

    def test_room_is_run_by_sdk(self):
        client = connect(f"{API}/", KEY, timeout=60.0)
        room = create_room.sync(client=client, body=CreateRoom(room_id=ROOM, title="Tea")).room
        self.assertEqual(room.title, "Tea")
        again = self.refused(create_room.sync, client=client, body=CreateRoom(room_id=ROOM))
        self.assertEqual((again.code, again.status, again.retry_after), (Code.ROOM_EXISTS, 409, None))
        self.assertRegex(again.request_id, "^[0-9a-f]{32}$")
        stranger = connect(API, timeout=60.0)
        self.assertEqual(self.refused(list_rooms.sync, client=stranger).code, Code.UNAUTHORIZED)
        with self.assertRaises(StentorError):
            asyncio.run(list_rooms.asyncio(client=stranger))
        changed = update_room.sync(ROOM, client=client, body=UpdateRoom(title=None)).room
        self.assertIs(changed.title, UNSET)
        start_room.sync(ROOM, client=client)
        listed = asyncio.run(list_rooms.asyncio(client=client, q=ROOM))
        self.assertEqual([room.room_id for room in listed.rooms], [ROOM])

        ann = create_user.sync(ROOM, client=client, body=CreateUser(user_id="ann", role=UserRole.HOST))
        self.assertIn(f"/speak/{ROOM}#token=", ann.invite_url)
        signer, created = TokenSigner(SECRET), room.created_at
        you = hello(ROOM, signer.listener(ROOM, user="bob", name="Bob", room_created_at=created))
        self.assertEqual((you["role"], you["name"]), ("listener", "Bob"))
        self.assertEqual(hello(ROOM, signer.listener(ROOM))["role"], "listener")
        self.assertEqual(hello(ROOM, signer.anchor(ROOM, "cy"))["role"], "anchor")
        self.assertEqual(hello(ROOM, signer.anchor(ROOM, "dan", role="host", ttl=60))["role"], "host")
        self.assertEqual(hello(ROOM, signer.listener("other-room")), 403)
        self.assertEqual(hello(ROOM, signer.listener(ROOM, ttl=-1)), 401)
        self.assertEqual(hello(ROOM, signer.listener(ROOM, room_created_at=created - 1)), 401)
        self.assertEqual(hello(ROOM, TokenSigner(SECRET, "other").listener(ROOM)), 401)

        # The ledger may lag behind the store: `follow` waits for an event, `pages` does not.
        seen, followed = [], []
        for event in follow(client, after="0", room=ROOM):
            followed.append(event.type_)
            if event.type_ == "anchor_invited":
                seen = list(pages(client, room=ROOM))
                delete_room.sync(ROOM, client=client)
            if event.type_ == "room_deleted":
                break
        self.assertEqual([event.type_ for event in seen], ["room_created", "room_started", "anchor_invited"])
        self.assertEqual(seen[2].data.to_dict(), {"userId": "ann", "role": "host"})
        types = ["room_created", "room_started", "anchor_invited", "room_ended", "room_deleted"]
        self.assertEqual(followed, types)
        later = [event.type_ for event in pages(client, room=ROOM, after=seen[1].cursor)]
        self.assertEqual(later, types[2:])
        self.assertEqual(self.refused(next, follow(stranger, after="0")).code, Code.UNAUTHORIZED)


    def test_readme_example_works(self):
        readme = pathlib.Path(__file__).resolve().parents[1] / "README.md"
        example = re.search(r"^```python\n(.*?)^```", readme.read_text(), re.MULTILINE | re.DOTALL)[1]
        example = example.replace("http://127.0.0.1:3000", API)
        run = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, timeout=120)
        self.assertRegex(run.stdout, r"/speak/tea-room#token=\S+ \S+\.\S+\.\S+\n$", run.stderr)


def hello(room, token):
    """Returns the listener channel's data about the token's subject, or the status of the refusal."""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.stream("GET", f"{HLS}/hls/rooms/{room}/events", headers=headers, timeout=60.0) as response:
        if response.status_code != 200:
            return response.status_code
        is_hello = False
        for line in response.iter_lines():
            is_hello = line.strip().replace(" ", "") == "event:hello" or (is_hello and line.strip() != "")
            if is_hello and line.startswith("data:"):
                return json.loads(line[5:])["you"]
    raise AssertionError("no hello")


if __name__ == "__main__":
    unittest.main()
