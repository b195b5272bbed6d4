#!/usr/bin/env python3
"""Receiver of OTLP over HTTP for the tests, with the Protobuf classes of the OpenTelemetry project.

    otlp-receiver.py PORT

POST /v1/traces and /v1/metrics take data; GET /traces and /metrics return everything received so far, as JSON.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

FORMS = {"traces": ExportTraceServiceRequest, "metrics": ExportMetricsServiceRequest}
received = {"traces": [], "metrics": []}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        signal = self.path.removeprefix("/v1/")
        body = self.rfile.read(int(self.headers["content-length"]))
        if signal not in FORMS or self.headers["content-type"] != "application/x-protobuf":
            return self.answer(415, {})
        message = FORMS[signal]()
        message.ParseFromString(body)
        # Unknown fields would mean that the sender's field numbers are wrong.
        again = FORMS[signal]()
        again.CopyFrom(message)
        again.DiscardUnknownFields()
        if again.SerializeToString(deterministic=True) != message.SerializeToString(deterministic=True):
            return self.answer(400, {"error": "unknown fields"})
        data = MessageToDict(message)
        received[signal].append({"key": self.headers["x-test-key"], "data": data})
        self.answer(200, {})

    def do_GET(self):
        self.answer(200, received[self.path.removeprefix("/")])

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
