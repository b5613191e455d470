"""A stand-in of Jaeger: an archive as Jaeger's releases are, with a program that is called as Jaeger is."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

PROGRAM = """\
#!/usr/bin/python3
import http.server, re, ssl, sys
config = open(sys.argv[-1].removeprefix("--config=")).read()
if "jaeger_storage_exporter" not in config:
    sys.exit("this is no configuration of Jaeger")
if sys.argv[1] == "validate":
    sys.exit(0)
host, port = re.search(r'http:\\n\\s+endpoint: "([^"]+):(\\d+)"', config).groups()
certificate = re.search(r"tls: {cert_file: (\\S+), key_file: (\\S+),", config)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        print("traces of", self.client_address[0], *[self.connection.version()] * bool(certificate), flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


server = http.server.ThreadingHTTPServer((host, int(port)), Handler)
if certificate:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate.groups())
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
"""


@dataclass(frozen=True)
class Archive:
    """What `tracing_jaeger_url` and `tracing_jaeger_sha256` name."""

    url: str
    sha256: str


def archive(directory: Path) -> Archive:
    """The same in every run, and so unpacked once."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo("jaeger-2.20.0-linux-amd64/jaeger")
        member.size, member.mode = len(PROGRAM), 0o755
        tar.addfile(member, io.BytesIO(PROGRAM.encode()))
    content = gzip.compress(packed.getvalue(), mtime=0)
    path = directory / "jaeger.tar.gz"
    path.write_bytes(content)
    return Archive(path.as_uri(), hashlib.sha256(content).hexdigest())
