#!/usr/bin/env python3
"""Generates, compares and tests the server SDKs in sdk/: sdk.py generate | check | test node|python|go

generate  installs the generators below target/sdk-tools, and writes the generated files from sdk/openapi.json
check     compares the committed files with their digests in sdk/generated.sha256, and with the output of the generators;
          a generator that is not installed is skipped
test      builds one SDK and runs its tests; tests that need a node read its addresses from the environment

Exit 0: no problem was found. 1: a step failed. 77: a package is not available here.
"""

import copy
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SDK = ROOT / "sdk"
TOOLS = ROOT / "target/sdk-tools"
DIGESTS = SDK / "generated.sha256"
# Generated files and folders, below sdk/.
GENERATED = ["node/src/rest", "python/src/stentor_sdk/rest", "go/rest.gen.go"]
HEY_API = ["@hey-api/openapi-ts@0.99.0", "typescript@5.9.3"]
PYTHON_CLIENT = ["openapi-python-client==0.29.1", "ruff==0.17.6"]
OAPI_CODEGEN = "github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2"
# Exit code of a test that cannot run here.
NOT_AVAILABLE = 77
# Schemas that no successful response uses, but the hand-written code needs.
ERRORS = ["ErrorBody"]


def references(value):
    """Yields the names of the schemas that a part of the document refers to."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"].rsplit("/", 1)[1]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def reachable(schemas, names):
    """Returns these names and the names of all schemas that they refer to."""
    found, open_names = set(), list(names)
    while open_names:
        name = open_names.pop()
        if name not in found:
            found.add(name)
            open_names += references(schemas[name])
    return found


def of_servers(document):
    """Returns the document of the room API without its errors and streams, which hand-written code handles."""
    document = copy.deepcopy(document)
    document["paths"] = {
        path: item
        for path, item in document["paths"].items()
        if path.startswith("/api/") and path != "/api/openapi.json"
    }
    for item in document["paths"].values():
        # A generated client cannot open a WebSocket.
        for method in [method for method, operation in item.items() if "101" in operation["responses"]]:
            del item[method]
        for operation in item.values():
            operation["parameters"] = [p for p in operation.get("parameters", []) if p["in"] != "header"]
            answers = operation["responses"]
            operation["responses"] = {status: a for status, a in answers.items() if status.startswith("2")}
            for answer in operation["responses"].values():
                content = answer.get("content", {})
                content.pop("text/event-stream", None)
                # The generators support JSON and text, but not lines of JSON.
                if "application/x-ndjson" in content:
                    content["text/plain"] = content.pop("application/x-ndjson")
    document["paths"] = {path: item for path, item in document["paths"].items() if item}
    schemas = document["components"]["schemas"]
    used = reachable(schemas, [*references(document["paths"]), *ERRORS])
    document["components"]["schemas"] = {name: s for name, s in schemas.items() if name in used}
    return document


def of_python(document):
    """Returns the document with two changes for Python. Enums in answers become plain strings, because the generated
    client would refuse values that a newer server adds. Security is removed, because `connect` sets the header."""
    document = copy.deepcopy(document)
    for item in document["paths"].values():
        for operation in item.values():
            operation.pop("security")
    schemas = document["components"]["schemas"]
    bodies = [o["requestBody"] for item in document["paths"].values() for o in item.values() if "requestBody" in o]
    answers = [schema for name, schema in schemas.items() if name not in reachable(schemas, references(bodies))]

    def open_up(value):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(inner, dict) and "$ref" in inner:
                target = schemas[inner["$ref"].rsplit("/", 1)[1]]
                if "enum" in target:
                    values = ", ".join(f"`{v}`" for v in target["enum"])
                    value[key] = {"type": "string", "description": f"{target.get('description', '')} {values}"}
            elif isinstance(inner, (dict, list)):
                open_up(inner)

    for schema in answers:
        open_up(schema)
    return document


def run(*command, **options):
    try:
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, **options)
    except subprocess.CalledProcessError as error:
        sys.exit(f"sdk: {command[0]} failed: {error.stdout.decode()}")


def install():
    """Installs the generators, each in its pinned version."""
    run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", TOOLS / "node", *HEY_API)
    run(sys.executable, "-m", "venv", TOOLS / "python")
    run(TOOLS / "python/bin/pip", "install", "--quiet", *PYTHON_CLIENT)
    run("go", "install", OAPI_CODEGEN, env={**os.environ, "GOBIN": str(TOOLS / "go")})


def node(document, target):
    """Writes node/src/rest."""
    config = f"""export default {{
      input: {json.dumps(str(document))}, output: {{ path: {json.dumps(str(target))}, module: {{ extension: '.js' }} }},
      plugins: [{{ name: '@hey-api/client-fetch', throwOnError: true }}, '@hey-api/typescript',
        {{ name: '@hey-api/sdk', responseStyle: 'data' }}],
    }};"""
    (document.parent / "openapi-ts.config.mjs").write_text(config)
    tool = TOOLS / "node/node_modules/.bin/openapi-ts"
    run(tool, "--file", document.parent / "openapi-ts.config.mjs", "--no-log-file", "--silent", cwd=TOOLS / "node")
    for file in target.rglob("*.ts"):
        file.write_text(re.sub(r"[ \t]+\n", "\n", file.read_text()))


def python(document, target):
    """Writes python/src/stentor_sdk/rest."""
    (document.parent / "python.json").write_text(json.dumps(of_python(json.loads(document.read_text()))))
    config = document.parent / "python.yaml"
    config.write_text("package_name_override: rest\n")
    path = f"{TOOLS / 'python/bin'}:{os.environ['PATH']}"
    run(
        "openapi-python-client", "generate", "--path", document.parent / "python.json", "--config", config,
        "--meta", "none", "--output-path", target, "--overwrite", "--fail-on-warning",
        env={**os.environ, "PATH": path}, stderr=subprocess.STDOUT,
    )  # fmt: skip
    shutil.rmtree(target / ".ruff_cache", ignore_errors=True)


def go(document, target):
    """Writes go/rest.gen.go."""
    config = document.parent / "go.yaml"
    config.write_text(
        "package: stentor\ngenerate: {models: true, client: true}\noutput-options: {nullable-type: true, skip-prune: true}\ncompatibility: {always-prefix-enum-values: true}\n"
        f"output: {target}\n"
    )
    run(TOOLS / "go/oapi-codegen", "-config", config, document, stderr=subprocess.STDOUT)


GENERATORS = [
    (GENERATED[0], node, "node/node_modules/.bin/openapi-ts"),
    (GENERATED[1], python, "python/bin/openapi-python-client"),
    (GENERATED[2], go, "go/oapi-codegen"),
]


def files(path):
    """Returns the files below a path, by their paths relative to it."""
    found = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    return {str(f.relative_to(path)): f.read_bytes() for f in found if "__pycache__" not in f.parts}


def digests():
    """Returns the digests of the document and of the generated files, in the format of sha256sum."""
    paths = [SDK / "openapi.json"]
    for place in GENERATED:
        paths += [SDK / place / name for name in files(SDK / place)]
    return "".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(SDK)}\n" for p in paths)


def written_by(generator):
    """Runs one generator in a folder of its own, and returns the files."""
    with tempfile.TemporaryDirectory() as folder:
        document = pathlib.Path(folder) / "document.json"
        document.write_text(json.dumps(of_servers(json.loads((SDK / "openapi.json").read_text()))))
        target = pathlib.Path(folder) / "rest"
        generator(document, target)
        return files(target)


def generate():
    install()
    for place, generator, _ in GENERATORS:
        target = SDK / place
        shutil.rmtree(target, ignore_errors=True)
        for name, content in written_by(generator).items():
            file = target / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    DIGESTS.write_text(digests())


def check():
    problems = []
    if DIGESTS.read_text() != digests():
        problems.append("sdk/openapi.json and the generated files do not belong together")
    for place, generator, tool in GENERATORS:
        if not (TOOLS / tool).exists():
            print(f"sdk: {tool} is not installed; sdk/{place} was compared by its digests only")
        elif written_by(generator) != files(SDK / place):
            problems.append(f"sdk/{place} is not what its generator writes")
    for problem in problems:
        print(f"sdk: {problem}; run make sdk, and commit sdk/", file=sys.stderr)
    sys.exit(1 if problems else 0)


def available(*command, folder=ROOT):
    """Returns true if the command succeeds; otherwise prints its output. Exits if the program is not installed."""
    if shutil.which(command[0]) is None:
        sys.exit(f"sdk: {command[0]} is not installed; run scripts/setup.sh test")
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        print(f"sdk: {' '.join(command)}: {done.stdout.decode()}", file=sys.stderr)
    return done.returncode == 0


def test_node():
    folder = SDK / "node"
    lock, installed = folder / "package-lock.json", folder / "node_modules/.package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        if not available("npm", "ci", "--no-audit", "--no-fund", folder=folder):
            return NOT_AVAILABLE
        installed.touch()
    shutil.rmtree(folder / "dist", ignore_errors=True)
    build = subprocess.run(["npm", "run", "--silent", "build"], cwd=folder)
    return build.returncode or subprocess.run(["node", "--test", "test/sdk.test.mjs"], cwd=folder).returncode


def test_python():
    # Only /usr/bin/python3 finds the modules of Debian's packages; another Python may be first in the path.
    installed = filter(shutil.which, (sys.executable, "/usr/bin/python3"))
    pythons = [python for python in installed if available(python, "-c", "import attrs, httpx")]
    if not pythons:
        sys.exit("sdk: this Python needs the modules attrs and httpx; run scripts/setup.sh test")
    command = [pythons[0], "-m", "unittest", "discover", "-s", "tests"]
    environment = {**os.environ, "PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=SDK / "python", env=environment).returncode


def test_go():
    if not available("go", "mod", "download", folder=SDK / "go"):
        return NOT_AVAILABLE
    return subprocess.run(["go", "test", "-count=1", "./..."], cwd=SDK / "go").returncode


if __name__ == "__main__":
    commands = {
        ("generate",): generate,
        ("check",): check,
        ("test", "node"): test_node,
        ("test", "python"): test_python,
        ("test", "go"): test_go,
    }
    command = commands.get(tuple(sys.argv[1:]))
    sys.exit(__doc__ if command is None else command())
