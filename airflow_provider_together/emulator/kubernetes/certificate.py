"""
The certificate of the API server: made at each start, for loopback, and vouched for by itself.

It can be exchanged while the server runs. It satisfies strict verification, which Python 3.13 does by default. The
private key is never on a disk. It imports ``cryptography`` and nothing of ours. Linux only.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_LIFETIME = timedelta(days=365)
#: Clocks of clients may be a little behind.
_LEEWAY = timedelta(hours=1)


def renew_certificate(context: ssl.SSLContext) -> bytes:
    """Give the server another certificate, for connections from now on; return it, as PEM, for its clients."""
    key = ec.generate_private_key(ec.SECP256R1())
    public, name = key.public_key(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "emulated-kubernetes")])
    hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    usage = {"digital_signature", "key_cert_sign"}
    others = {"content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign"}
    others |= {"encipher_only", "decipher_only"}
    now = datetime.now(tz=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LEEWAY)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**dict.fromkeys(usage, True), **dict.fromkeys(others, False)), critical=True)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with _in_memory(certificate.public_bytes(pem) + private) as path:
        context.load_cert_chain(path)
    return certificate.public_bytes(pem)


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """Offer a file that is on no disk, since Python's TLS reads keys from files only."""
    descriptor = os.memfd_create("certificate")
    try:
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
