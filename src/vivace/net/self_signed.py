"""A certificate for development, made at start: by the `cryptography` package, or else by the `openssl` command.

Must not know settings, HTTP or connections. Imported only when it is asked for.
"""

from __future__ import annotations

import ipaddress
import os
import socket

from vivace.errors import SettingError

DAYS = 90
"""A server that runs for longer is no development server."""

ADDRESSES = ("127.0.0.1", "::1")

CONFIG = """\
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = localhost
[extensions]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = {names}
"""


def self_signed(folder: str) -> tuple[str, str]:
    """Writes a certificate and its key into `folder`; returns their paths. Raises SettingError."""
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    names = host_names()
    try:
        import cryptography  # noqa: F401
    except ImportError:
        _by_command(cert, key, names)
    else:
        _by_package(cert, key, names)
    return cert, key


def host_names() -> list[str]:
    """localhost, and this machine's own name where a certificate can hold it (RFC 1123 section 2.1)."""
    name = socket.gethostname().lower()
    plain = name.isascii() and name.replace("-", "a").replace(".", "a").isalnum() and len(name) < 64
    return ["localhost", name] if plain and name != "localhost" else ["localhost"]


def _by_package(cert: str, key: str, names: list[str]) -> None:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    alternatives = [
        *map(x509.DNSName, names),
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in ADDRESSES),
    ]
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(private, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    with open(cert, "wb") as file:
        file.write(signed.public_bytes(pem))
    with open(key, "wb") as file:
        file.write(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def _by_command(cert: str, key: str, names: list[str]) -> None:
    import subprocess

    config = os.path.join(os.path.dirname(cert), "openssl.cnf")
    alternatives = [*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in ADDRESSES)]
    with open(config, "w") as file:
        file.write(CONFIG.format(names=", ".join(alternatives)))
    command = ["openssl", "req", "-x509", "-config", config, "-newkey", "ec", "-pkeyopt"]
    command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", str(DAYS), "-keyout", key, "-out", cert]
    try:
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise SettingError(
            "tls_self_signed: nothing here can make a certificate; pip install 'vivace[tls]' (the cryptography "
            "package), or install the openssl command"
        ) from None
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise SettingError(
            f"tls_self_signed: the openssl command failed ({last}); pip install 'vivace[tls]' instead"
        ) from None
