"""Confirmation mails to a real SMTP server."""

import datetime
import ipaddress
import ssl
from collections.abc import Callable, Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from integration.support import free_port
from taskapp.errors import TransientError
from taskapp.mail import send_confirmation


class Inbox:
    """Accepts mail, or answers as `reply` says."""

    def __init__(self) -> None:
        self.reply = "250 OK"
        self.mails: list[Any] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content))
        return self.reply


Start = Callable[..., Inbox]


@pytest.fixture
def mail_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """mail_server(**options of the SMTP server) -> its inbox; the settings name the server."""
    running = []

    def start(**options: Any) -> Inbox:
        inbox = Inbox()
        controller = Controller(inbox, hostname="127.0.0.1", port=free_port(), **options)
        controller.start()
        running.append(controller)
        monkeypatch.setenv("TASKAPP_SMTP_HOST", "127.0.0.1")
        monkeypatch.setenv("TASKAPP_SMTP_PORT", str(controller.port))
        monkeypatch.setenv("TASKAPP_MAIL_FROM", "fir@example.com")
        return inbox

    yield start
    for controller in running:
        controller.stop()


def test_a_confirmation_arrives_once(mail_server: Start) -> None:
    inbox = mail_server()
    first = send_confirmation("FIR-1", "jane@example.org", complainant="Jane", summary="A bike was stolen")
    again = send_confirmation("FIR-1", "jane@example.org", complainant="Jane", summary="A bike was stolen")
    assert (first["result"]["sent"], again["result"]["sent"]) == (True, False)
    [mail] = inbox.mails
    assert (mail["From"], mail["To"]) == ("fir@example.com", "jane@example.org")
    assert mail["Message-ID"] == first["result"]["message_id"]
    assert "A bike was stolen" in mail.get_payload()


def test_a_repeat_after_an_uncertain_end_is_recognisable(mail_server: Start) -> None:
    inbox = mail_server()
    inbox.reply = "451 try later"
    with pytest.raises(TransientError, match="451"):
        send_confirmation("FIR-1", "jane@example.org")
    inbox.reply = "250 OK"
    assert send_confirmation("FIR-1")["result"]["sent"] is True
    assert len(inbox.mails) == 2
    assert inbox.mails[0]["Message-ID"] == inbox.mails[1]["Message-ID"]


def test_a_refused_mail_is_a_structured_error(mail_server: Start) -> None:
    inbox = mail_server()
    inbox.reply = "554 no thanks"
    answer = send_confirmation("FIR-1", "jane@example.org")
    assert answer == {"status": "error", "message": "the mail server: SMTPDataError 554"}


def test_a_mail_server_that_is_away_is_a_transient_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKAPP_SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("TASKAPP_SMTP_PORT", str(free_port()))
    with pytest.raises(TransientError, match="ConnectionRefusedError"):
        send_confirmation("FIR-1", "jane@example.org")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate of 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def secure_server(
    mail_server: Start, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Inbox:
    """A mail server that wants STARTTLS and a login."""

    def authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"fir", b"open sesame"), handled=False)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    password_file = tmp_path / "password"
    password_file.write_text("open sesame\n")
    monkeypatch.setenv("TASKAPP_SMTP_STARTTLS", "true")
    monkeypatch.setenv("TASKAPP_SMTP_USER", "fir")
    monkeypatch.setenv("TASKAPP_SMTP_PASSWORD_FILE", str(password_file))
    return mail_server(
        tls_context=context, require_starttls=True, authenticator=authenticate, auth_required=True
    )


def test_mail_goes_encrypted_and_authenticated(
    secure_server: Inbox, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert send_confirmation("FIR-1", "jane@example.org")["result"]["sent"] is True
    assert len(secure_server.mails) == 1


def test_a_certificate_that_nobody_vouches_for_is_refused(secure_server: Inbox) -> None:
    answer = send_confirmation("FIR-1", "jane@example.org")
    assert answer["message"] == "the mail server: SSLCertVerificationError"
    assert secure_server.mails == []


def test_a_wrong_password_is_a_structured_error_that_does_not_tell_it(
    secure_server: Inbox, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    (tmp_path / "password").write_text("wrong sesame")
    answer = send_confirmation("FIR-1", "jane@example.org")
    assert answer == {"status": "error", "message": "the mail server: SMTPAuthenticationError 535"}
    assert secure_server.mails == []
