"""TLS of the servers that the fleet runs itself, by the certificate of their host."""

import ssl
from collections.abc import Mapping


def server_context(variables: Mapping[str, str], prefix: str) -> ssl.SSLContext | None:
    """TLS 1.2 and later, by the files of PREFIX_CERTIFICATE_FILE and PREFIX_CERTIFICATE_KEY_FILE. None: neither is set.

    Raises ValueError, in one line, for files that cannot be used.
    """
    names = f"{prefix}_CERTIFICATE_FILE", f"{prefix}_CERTIFICATE_KEY_FILE"
    certificate, key = (variables.get(name, "") for name in names)
    if not certificate and not key:
        return None
    if not certificate or not key:
        raise ValueError(f"{' and '.join(names)} belong together: set both, or neither")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # also what is wrong inside of them
        raise ValueError(
            f"{names[0]}={certificate}, with the key {key}, cannot be used: {error.strerror or error}"
        ) from None
    return context
