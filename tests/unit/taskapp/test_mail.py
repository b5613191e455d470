import logging
import mailbox
import smtplib
import ssl
from pathlib import Path

import pytest

from taskapp import mail
from taskapp.errors import FatalError, TransientError
from taskapp.mail import confirmation, deliver, send_confirmation
from taskapp.settings import Settings

FIR = {
    "id": "FIR-1",
    "at": 0.0,
    "recipient": "jane@example.org",
    "complainant": "Jane Döe",
    "summary": "A bike",
}


def test_the_same_key_gives_the_same_message_id() -> None:
    ids = [confirmation(FIR, "fir@example.com", key)["Message-ID"] for key in ("a", "a", "b")]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].endswith("@example.com>")


def test_without_a_mail_server_mail_goes_into_the_maildir_once(
    state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        answers = [
            send_confirmation("FIR-1", "jane@example.org", complainant="Jane Döe", summary="A bike"),
            send_confirmation("FIR-1"),
        ]
    assert [answer["result"]["sent"] for answer in answers] == [True, False]
    box = mailbox.Maildir(state_dir / "maildir", create=False)
    [message] = list(box)
    assert message["To"] == "jane@example.org"
    assert message["Message-ID"] == answers[0]["result"]["message_id"] == answers[1]["result"]["message_id"]
    assert "Jane D" in message.get_payload(decode=True).decode()
    assert "jane@" not in str(answers) + caplog.text


def test_another_key_is_another_mail(state_dir: Path) -> None:
    send_confirmation("FIR-1", "jane@example.org")
    assert send_confirmation("FIR-1", idempotency_key="reminder")["result"]["sent"] is True
    assert len(mailbox.Maildir(state_dir / "maildir", create=False)) == 2


def test_a_report_that_is_not_on_record_cannot_be_confirmed() -> None:
    assert send_confirmation("FIR-9") == {"status": "error", "message": "there is no record FIR-9"}


@pytest.mark.parametrize(
    ("error", "judgement"),
    [
        (smtplib.SMTPDataError(451, b"later"), TransientError),
        (smtplib.SMTPDataError(554, b"never"), FatalError),
        (smtplib.SMTPRecipientsRefused({"jane@example.org": (450, b"busy")}), TransientError),
        (smtplib.SMTPRecipientsRefused({"jane@example.org": (550, b"unknown")}), FatalError),
        (smtplib.SMTPAuthenticationError(535, b"no"), FatalError),
        (smtplib.SMTPNotSupportedError("STARTTLS"), FatalError),
        (smtplib.SMTPServerDisconnected("gone"), TransientError),
        (ssl.SSLCertVerificationError("self-signed"), FatalError),
        (TimeoutError("slow"), TransientError),
        (ConnectionRefusedError("closed"), TransientError),
    ],
)
def test_a_mail_servers_failure_is_transient_unless_it_is_final(
    error: Exception, judgement: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtplib, "SMTP", lambda *_, **__: (_ for _ in ()).throw(error))
    with pytest.raises(judgement) as raised:
        deliver(confirmation(FIR, "fir@example.com", "a"), Settings(smtp_host="mail"))
    assert "jane" not in str(raised.value)


@pytest.mark.parametrize("password_file", [None, Path("/nonexistent/password")])
def test_a_user_needs_a_password(password_file: Path | None) -> None:
    settings = Settings(smtp_host="mail", smtp_user="fir", smtp_password_file=password_file)
    with pytest.raises(FatalError, match="TASKAPP_SMTP_PASSWORD_FILE"):
        deliver(confirmation(FIR, "fir@example.com", "a"), settings)


def test_a_mail_that_failed_is_sent_by_the_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []
    outcomes = iter([TransientError("later"), None])

    def deliver_(message: object, settings: Settings) -> None:
        if error := next(outcomes):
            raise error
        sent.append(message)

    monkeypatch.setattr(mail, "deliver", deliver_)
    result = send_confirmation.apply(args=["FIR-1", "jane@example.org"])
    assert len(sent) == 1
    assert send_confirmation("FIR-1")["result"]["sent"] is False
    assert result.state in {"SUCCESS", "RETRY"}
