"""Settings: flags over environment over file, and every mistake in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from callstream_trio.admission import QueryToken
from callstream_trio.settings import BadSettings, Settings, load_settings, nearest


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "callstream.toml"
    path.write_text(text)
    return path


def test_nothing_given() -> None:
    assert load_settings({}, {}, None) == Settings()


def test_everything_in_a_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        app = "record /var/calls"
        bind = ["0.0.0.0:8787", "[::1]:8788"]
        auth = ["query:key=secret"]
        allowed_origins = ["https://example.com"]
        tls_cert = "cert.pem"
        tls_key = "key.pem"
        max_calls = 12
        send_ahead = 0.5
        yeastar_rate = 16000
        workers = 3
        metrics_bind = "127.0.0.1:9100"
        drain_timeout = 30
        log_level = "debug"
        json_logs = true
        """,
    )
    settings = load_settings({}, {}, path)
    assert settings == Settings(
        app="record /var/calls",
        bind=("0.0.0.0:8787", "[::1]:8788"),
        auth=("query:key=secret",),
        allowed_origins=("https://example.com",),
        tls_cert=Path("cert.pem"),
        tls_key=Path("key.pem"),
        max_calls=12,
        send_ahead=0.5,
        yeastar_rate=16000,
        workers=3,
        metrics_bind="127.0.0.1:9100",
        drain_timeout=30.0,
        log_level="debug",
        json_logs=True,
    )
    server = settings.server
    assert server.admission.auth == [QueryToken("key", "secret")]
    assert server.limits.max_calls == 12
    assert server.limits.drain_timeout == 30
    assert server.playout.send_ahead == 0.5
    assert server.profiles["yeastar"].rate == 16000
    assert settings.is_secure


def test_a_password_is_for_both_sockets_of_a_jambonz_call() -> None:
    settings = Settings(auth=("query:key=secret", "basic:jambonz:a:b", "basic:other:c")).server.jambonz
    assert (settings.username, settings.password) == ("jambonz", "a:b")
    assert Settings(auth=("query:key=secret",)).server.jambonz.username is None


def test_flags_override_the_environment_which_overrides_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, 'max_calls = 1\nlog_level = "error"\nbind = ["file:1"]')
    environ = {"CALLSTREAM_MAX_CALLS": "2", "CALLSTREAM_LOG_LEVEL": "debug", "OTHER": "x"}
    settings = load_settings({"max_calls": "3", "log_level": None}, environ, path)
    assert (settings.max_calls, settings.log_level, settings.bind) == (3, "debug", ("file:1",))


def test_the_environment_separates_by_commas() -> None:
    settings = load_settings({}, {"CALLSTREAM_BIND": "a:1, b:2", "CALLSTREAM_JSON_LOGS": "Yes"}, None)
    assert settings.bind == ("a:1", "b:2")
    assert settings.json_logs


@pytest.mark.parametrize(("text", "expected"), [('"unlimited"', None), ("0", 0.0), ("2", 2.0)])
def test_send_ahead(tmp_path: Path, text: str, expected: float | None) -> None:
    assert load_settings({}, {}, written(tmp_path, f"send_ahead = {text}")).send_ahead == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_call = 3", "unknown key 'max_call'; did you mean 'max_calls'"),
        ("zzz = 3", "unknown key 'zzz'; there are app, bind"),
        ("[server]\nbind = []", "unknown key 'server'"),
        ("yeastar_rate = 44100", "yeastar_rate is 8000 or 16000, not 44100"),
        ("max_calls = 0", "max_calls is 1 at least, not 0"),
        ("workers = 0", "workers is 1 to 256, not 0"),
        ("workers = 257", "workers is 1 to 256, not 257"),
        ("metrics_bind = 9100", "metrics_bind is a text"),
        ("max_calls = 1.5", "max_calls is a whole number"),
        ('max_calls = "many"', "max_calls is a number, not 'many'"),
        ("max_calls = true", "max_calls is a number"),
        ("max_calls = inf", "max_calls is a number"),
        ("send_ahead = -1", "send_ahead is 0 at least"),
        ("send_ahead = nan", "send_ahead is a number"),
        ('send_ahead = "all"', "send_ahead is a number"),
        ('log_level = "loud"', "log_level is one of debug, info, warning, error, not 'loud'"),
        ('json_logs = "perhaps"', "json_logs is true or false"),
        ("json_logs = 1", "json_logs is true or false"),
        ('bind = "0.0.0.0:1"', "bind is a list of texts"),
        ("bind = [1]", "bind is a text"),
        ("app = 3", "app is a text"),
        ('tls_key = "k"', "name the certificate with tls_cert"),
        ("tls_cert = 5", "tls_cert is a text"),
        ('auth = ["password"]', "use query:NAME=SECRET"),
        ("bind = ", "not valid TOML"),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadSettings) as failure:
        load_settings({}, {}, written(tmp_path, text))
    assert message in str(failure.value)


def test_a_mistaken_secret_is_not_told() -> None:
    with pytest.raises(BadSettings) as failure:
        load_settings({"auth": ("hunter2",)}, {}, None)
    assert "hunter2" not in str(failure.value)
    assert "hunter2" not in repr(load_settings({"auth": ("query:key=hunter2",)}, {}, None))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="cannot be read: No such file"):
        load_settings({}, {}, tmp_path / "missing.toml")
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadSettings, match="not valid TOML"):
        load_settings({}, {}, path)


def test_nearest() -> None:
    assert nearest("slin-16", ["slin16", "ulaw"]) == "did you mean 'slin16'?"
    assert nearest("xyz", ["slin16", "ulaw"]) == "there are slin16, ulaw"
