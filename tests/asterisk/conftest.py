"""Fixtures of the tests that talk to a real Asterisk; without one they are skipped."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trustme

from tests.asterisk.peer import Asterisk, made_asterisk
from tests.asterisk.process import AsteriskError


@attrs.frozen(kw_only=True)
class Certificates:
    """A certificate for localhost and 127.0.0.1, and the authority that signed it."""

    authority: Path
    server: Path
    """Key and chain in one file."""

    def server_context(self) -> ssl.SSLContext:
        """For an app that listens."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.server)
        return context

    def client_context(self) -> ssl.SSLContext:
        """For an app that connects."""
        return ssl.create_default_context(cafile=self.authority)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Make an authority and a certificate for this run."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return Certificates(authority=folder / "authority.pem", server=folder / "server.pem")


@pytest.fixture(scope="session")
def running_asterisk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asterisk]:
    """Start one Asterisk for all tests of the run."""
    made = made_asterisk()
    if made is None:
        pytest.skip("there is no Asterisk here: tests/asterisk/make.sh makes one")
    certificates: Certificates = request.getfixturevalue("certificates")
    asterisk = Asterisk(
        made,
        tmp_path_factory.mktemp("asterisk"),
        app_uri="ws://127.0.0.1:1/",
        ca_file=certificates.authority,
        certificate=certificates.server,
    )
    with asterisk:
        yield asterisk


@pytest.fixture
def asterisk(running_asterisk: Asterisk) -> Iterator[Asterisk]:
    """Give a test the Asterisk of this run, without calls; what a test leaves behind is hung up after it."""
    yield running_asterisk
    try:
        for channel in running_asterisk.channels():
            running_asterisk.hang_up(channel.id)
        running_asterisk.wait_until_idle()
    except AsteriskError:
        # It is dead, or a channel cannot be hung up: the next test shall have a fresh one.
        running_asterisk.stop()
        running_asterisk.start()
        raise
