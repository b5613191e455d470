"""Confirmation mails, by SMTP or into a maildir."""

import hashlib
import mailbox
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any

from taskapp.errors import FatalError, TransientError
from taskapp.operation import operation
from taskapp.records import Address, Line, Record, once, record, save_record
from taskapp.settings import Name, Settings, current
from taskapp.store import current_store


@operation("afirgen_tasks.email.send_confirmation")
def send_confirmation(
    _self: Any,
    fir_id: Name,
    recipient: Address | None = None,
    *,
    complainant: Line = "Sir or Madam",
    summary: Line = "Your report",
    idempotency_key: Line | None = None,
) -> dict[str, Any]:
    """Confirm the filing of a report by mail, once per `idempotency_key` (default: once per report).

    With a `recipient` the report is recorded from the parameters; without, it must be on record.
    """
    settings, store = current(), current_store()
    if recipient is not None:
        save_record(store, Record(id=fir_id, recipient=recipient, complainant=complainant, summary=summary))
    message = confirmation(record(store, fir_id), settings.mail_from, idempotency_key or fir_id)
    # A mail takes a handful of SMTP steps, each with its own timeout.
    with once(store, "mail", idempotency_key or fir_id, lease=10 * settings.smtp_timeout) as todo:
        if todo:
            deliver(message, settings)
    return {"fir_id": fir_id, "message_id": message["Message-ID"], "sent": todo}


def confirmation(fir: dict[str, Any], sender: str, key: str) -> EmailMessage:
    """The mail for a record; the same key gives the same Message-ID, so that a repeat is recognisable."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = fir["recipient"]
    message["Subject"] = f"Confirmation of report {fir['id']}"
    message["Date"] = formatdate(usegmt=True)
    digest = hashlib.sha256(f"confirmation\0{key}".encode()).hexdigest()[:32]
    message["Message-ID"] = f"<{digest}@{sender.partition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(
        f"Dear {fir['complainant']},\n\n"
        f"your report {fir['id']} has been filed on {formatdate(fir['at'], usegmt=True)}:\n\n"
        f"    {fir['summary']}\n"
    )
    return message


def deliver(message: EmailMessage, settings: Settings) -> None:
    """Hand the mail over: to the mail server, or into the maildir when there is none."""
    if settings.smtp_host is None:
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        mailbox.Maildir(settings.state_dir / "maildir", create=True).add(message)
        return
    password = _password(settings)
    try:
        with smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=settings.smtp_timeout) as server:
            if settings.smtp_starttls:
                server.starttls(context=ssl.create_default_context())
            if settings.smtp_user is not None:
                server.login(settings.smtp_user, password)
            server.send_message(message)
    except (smtplib.SMTPException, OSError) as error:
        raise _judged(error) from error


def _password(settings: Settings) -> str:
    if settings.smtp_user is None:
        return ""
    if settings.smtp_password_file is None:
        raise FatalError("TASKAPP_SMTP_USER is set, and TASKAPP_SMTP_PASSWORD_FILE is not")
    try:
        return settings.smtp_password_file.read_text().rstrip("\n")
    except OSError as error:
        raise FatalError(f"TASKAPP_SMTP_PASSWORD_FILE: {error}") from error


def _judged(error: smtplib.SMTPException | OSError) -> FatalError | TransientError:
    """Whether the mail server may take the mail later. The text holds no address: it goes to the logs."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
    elif isinstance(error, smtplib.SMTPResponseException):
        codes = [error.smtp_code]
    else:
        codes = []
    permanent = any(code >= 500 for code in codes) or isinstance(
        error, smtplib.SMTPNotSupportedError | ssl.SSLCertVerificationError
    )
    text = f"the mail server: {type(error).__name__} {' '.join(map(str, codes))}".rstrip()
    return FatalError(text) if permanent else TransientError(text)
