#!/usr/bin/env python3
"""Replays the last stage of packaging/container/Dockerfile in a chroot, and plays a room in it: test-image.py BINARY

BINARY replaces the output of the first stage. The base image is a root of the same suite, made by mmdebstrap. The
node runs as the image's user, with its environment and command, in namespaces without network; this machine is not
changed. Needs root, mmdebstrap and python3. Prints one line per step; exits with 1 at the first failure.
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time

PROJECT = pathlib.Path(__file__).resolve().parent.parent
DOCKERFILE = PROJECT / "packaging/container/Dockerfile"
ROOT = PROJECT / "target/image-root"
KEY = "key-of-this-test-0123456789"
READY_WITHIN = 60


def instructions(text):
    """Yields (name, argument) of each instruction."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            name, argument = line.strip().split(None, 1)
            yield name.upper(), argument


def last_stage(steps):
    return steps[max(i for i, (name, _) in enumerate(steps) if name == "FROM"):]


def words(argument):
    """Returns the words of the exec form or the shell form."""
    return json.loads(argument) if argument.startswith("[") else ["/bin/sh", "-c", argument]


def run(command, **options):
    return subprocess.run(command, check=True, text=True, **options)


def make_root(base):
    suite = re.fullmatch(r"debian:(\w+)-slim", base).group(1)
    shutil.rmtree(ROOT, ignore_errors=True)
    ROOT.parent.mkdir(exist_ok=True)
    # The validity date in the mirror's lists may have passed.
    run(["mmdebstrap", "--quiet", "--variant=minbase", "--aptopt=Acquire::Check-Valid-Until \"false\"", suite, ROOT])
    shutil.copy("/etc/resolv.conf", ROOT / "etc/resolv.conf")


class Image:
    """Settings made by the instructions. With a binary, also runs the build instructions."""

    def __init__(self, binary=None):
        self.binary, self.environment, self.user, self.folder = binary, {}, "root", "/"
        self.entrypoint, self.command, self.health = [], [], None
        for name, argument in last_stage(list(instructions(DOCKERFILE.read_text()))):
            self.read(name, argument)
            if binary:
                self.build(name, argument)
                print(f"ok: {name} {argument[:90]}", flush=True)

    def read(self, name, argument):
        match name:
            case "ENV":
                self.environment |= dict(pair.split("=", 1) for pair in shlex.split(argument))
            case "USER":
                self.user = argument
            case "WORKDIR":
                self.folder = argument
            case "ENTRYPOINT":
                self.entrypoint = words(argument)
            case "CMD":
                self.command = words(argument)
            case "HEALTHCHECK":
                self.health = words(argument.split("CMD", 1)[1].strip())
            case "FROM" | "RUN" | "COPY" | "EXPOSE" | "VOLUME" | "STOPSIGNAL":
                pass
            case _:
                sys.exit(f"test-image: the instruction {name} is not known")

    def build(self, name, argument):
        match name:
            case "FROM":
                make_root(argument)
            case "RUN":
                run(["chroot", ROOT, *words(argument)], env=self.all_variables())
            case "COPY":
                *options, source, target = argument.split()
                copied = self.binary if options else PROJECT / source
                target = ROOT / target.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(copied, target)

    def all_variables(self):
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", **self.environment}

    def inside(self, command):
        """Returns a command line that runs another one as the image's user in its working directory."""
        as_user = ["setpriv", "--reuid", self.user, "--regid", self.user, "--clear-groups", "--no-new-privs"]
        go = ["sh", "-c", 'cd "$0" && exec "$@"', self.folder]
        return ["chroot", str(ROOT), *as_user, *go, *command]


def play_room(image):
    """Runs the node, and listens to a room. Call it inside namespaces of its own."""
    run(["ip", "link", "set", "lo", "up"])
    for kind, target in (("proc", "proc"), ("tmpfs", "tmp"), ("tmpfs", "run")):
        run(["mount", "-t", kind, kind, ROOT / target])
    run(["chmod", "1777", ROOT / "tmp"])
    run(["mount", "--rbind", "/dev", ROOT / "dev"])
    variables = {**image.all_variables(), "STENTOR__AUTH__API_KEYS": KEY}
    node = subprocess.Popen(image.inside(image.entrypoint + image.command), env=variables)

    def call(method, path, body=None):
        data = ["--data", json.dumps(body)] if body else []
        head = ["-H", f"Authorization: Bearer {KEY}", "-H", "Content-Type: application/json"]
        command = ["curl", "-fsS", "-X", method, *head, *data, f"http://127.0.0.1:3000/api/{path}"]
        return json.loads(run(image.inside(command), env=variables, stdout=subprocess.PIPE).stdout)

    def until(text, condition):
        deadline = time.monotonic() + READY_WITHIN
        while not condition():
            if node.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"FAILED: {text}")
            time.sleep(0.2)
        print(f"ok: {text}", flush=True)

    def succeeds(command):
        return subprocess.run(image.inside(command), env=variables, capture_output=True).returncode == 0

    try:
        until("the health check succeeds", lambda: succeeds(image.health))
        call("POST", "rooms", {"roomId": "check", "start": True})
        until("a room is on air", lambda: call("GET", "rooms/check")["room"]["status"] == "onair")
        token = call("POST", "token", {"roomId": "check"})["token"]
        playlist = f"http://127.0.0.1:8080/hls/rooms/check/index.m3u8?token={token}"
        listen = ["ffmpeg", "-loglevel", "error", "-y", "-t", "3", "-i", playlist, "/tmp/heard.wav"]
        heard = ROOT / "tmp/heard.wav"
        until("a listener hears three seconds", lambda: succeeds(listen) and heard.stat().st_size > 250_000)
        node.terminate()
        if node.wait(READY_WITHIN) != 0:
            sys.exit("FAILED: the node ends in order")
        print("ok: the node ends in order")
    finally:
        node.kill()


def main():
    match sys.argv[1:]:
        case ["--play"]:
            play_room(Image())
        case [binary] if os.geteuid() == 0:
            Image(binary)
            own = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", sys.executable, __file__]
            sys.exit(subprocess.run([*own, "--play"]).returncode)
        case _:
            sys.exit(f"usage, as root: {sys.argv[0]} BINARY")


if __name__ == "__main__":
    main()
