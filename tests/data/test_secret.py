"""Secrets are found where they have a form, and ordinary texts are left alone."""

import pytest

from personaagent.data.secret import secrets_in, without_secrets

KEY = "AKIA" + "IOSFODNN7EXAMPLE"
SECRETS = [
    (f"use {KEY} for the bucket", "API key", KEY),
    ("key: sk-" + "proj-" + "a1B2" * 8, "API key", "a1B2"),
    ("sk-" + "ant-" + "api03-" + "xY9z" * 8, "API key", "xY9z"),
    ("token ghp_" + "Ab12" * 9, "API key", "Ab12"),
    ("AIza" + "Sy_b" * 8 + "xyz here", "API key", "Sy_b"),
    ("db at postgres://anna:tr0ub4dor@host/db", "API key", "tr0ub4dor"),
    ("pay with 4111 1111 1111 1111 please", "card number", "1111"),
    ("pay with 5500-0000-0000-0004, thanks", "card number", "0004"),
    ("IBAN DE89 3704 0044 0532 0130 00 from me", "account number", "3704"),
    ("to GB82WEST12345698765432.", "account number", "WEST"),
    ("my password is hunter22", "password", "hunter22"),
    ("Passwort: Sonnenblume", "password", "Sonnenblume"),
    ("mon mot de passe est soleil77!", "password", "soleil77"),
    ("la contraseña es girasol9", "password", "girasol9"),
    ("пароль: подсолнух", "password", "подсолнух"),
    ("密码是abcd1234", "password", "abcd1234"),
    ("the password for the router is blue-horse", "password", "blue-horse"),
    ("PIN: 4821", "password", "4821"),
    (
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIB\n-----END RSA PRIVATE KEY----- ok",
        "private key",
        "MIIEpAIB",
    ),
]
ORDINARY = [
    "",
    "I forgot my password again, can you reset it?",
    "The password is wrong.",
    "Call me at +49 170 1234567 or 030 1234567890",
    "Order 4111 1111 1111 1112 has shipped",  # the check digit is another
    "ISBN 978-3-16-148410-0",
    "DE00 1234 0000 0000 0000 00 is no account",
    "We met on 2026-11-28 at 12:30, and paid 12,000.50 euros.",
    "A-very-long-hyphenated-word-that-is-no-key",
    "https://example.org/some/long/path?with=query",
    "It is a pinboard: nothing else",
]


@pytest.mark.parametrize(("text", "kind", "part"), SECRETS)
def test_a_secret_is_found_and_taken_out(text, kind, part):
    assert kind in {one.kind for one in secrets_in(text)}
    assert part not in without_secrets(text)
    assert f"[{kind}]" in without_secrets(text)


@pytest.mark.parametrize("text", ORDINARY)
def test_an_ordinary_text_has_no_secret(text):
    assert secrets_in(text) == []
    assert without_secrets(text) == text


def test_what_stands_around_secrets_stays():
    text = f"A {KEY} B 4111111111111111 C my password: swordfish D"
    assert without_secrets(text) == "A [API key] B [card number] C my password: [password] D"


def test_what_was_taken_out_is_no_secret_again():
    for text, _, _ in SECRETS:
        assert without_secrets(without_secrets(text)) == without_secrets(text)
