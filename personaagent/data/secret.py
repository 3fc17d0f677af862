"""Secrets in a text: keys, passwords, card and account numbers. None becomes part of a persona.

Keys of services are told by their form (detect-secrets), cards and accounts by their check digits,
passwords by being called so. What has no form, such as a password that nobody calls one, is not
seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

# Plugins of detect-secrets; those that guess from entropy, from the syntax of code or from a few
# capital letters are left out.
_PLUGINS = (
    *("aws", "azure_storage_key", "basic_auth", "cloudant", "discord"),
    *("github_token", "gitlab_token", "ibm_cloud_iam", "jwt", "mailchimp", "npm", "openai"),
    *("pypi_token", "sendgrid", "slack", "softlayer", "square_oauth", "stripe"),
    *("telegram_token", "twilio"),
)
_FORMS = tuple(
    (kind, re.compile(pattern, re.DOTALL))
    for kind, pattern in (
        (
            "private key",
            r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
            r".*?(?:-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----|\Z)",
        ),
        ("API key", r"\bsk-(?:ant-|proj-|or-|svcacct-)?[A-Za-z0-9_-]{20,}"),
        ("API key", r"\bAIza[A-Za-z0-9_-]{35}"),
        ("API key", r"\b(?:hf|gsk|xai|npm|rk_test|sk_test|pk_live)_[A-Za-z0-9]{20,}"),
        ("API key", r"\bgithub_pat_[A-Za-z0-9_]{22,}"),
        ("API key", r"\b(?:Bearer|bearer) [A-Za-z0-9._~+/-]{20,}=*"),
    )
)
_PASSWORD = (
    r"pass ?(?:word|code|phrase)|passwd|pwd|pin(?: ?code)?|secret key|api[ _-]?key|"
    r"access[ _-]?token|passwort|kennwort|mot de passe|contrase[nñ]a|clave|senha|"
    r"parola d'ordine|wachtwoord|has[lł]o|[sş]ifre|parola|l[oö]senord|adgangskode|пароль|"
    r"密码|密碼|パスワード|비밀번호|كلمة المرور|पासवर्ड"
)
_SAID = re.compile(
    rf"(?<!\w)(?:{_PASSWORD})(?:\s+(?:for|to|f[uü]r|de|del|von|van)\s+(?:\S+\s+){{1,4}}?)?"
    r"\s*(?:(?P<mark>[:=：]+>?)|是|为|為|は|(?<!\w)(?:is|was|ist|lautet|war|est|es|è|é|jest|это|هي)(?!\w))"
    r"\s*(?P<value>[\"'“„«`]?[^\s\"'”“»`，。]{4,})",
    re.IGNORECASE,
)
# What follows "the password is" and is none
_NO_PASSWORD = re.compile(
    r"wrong|(?:in)?correct|right|lost|weak|strong|expired|(?:in)?valid|required|needed|missing|"
    r"changed|reset|stored|saved|hidden|short|long|same|different|easy|hard|(?:in)?secure|safe|"
    r"secret|(?:un)?known|always|never|being|been|still|already|what|where|when|that|this|here|"
    r"there|very|also|just|only|really|stolen|your|mine|their|mandatory|optional|empty|gone|broken|"
    r"working|accepted|rejected|falsch|richtig|abgelaufen|incorrecta?|correcta|oubliée|faux|errata|"
    r"sbagliata|errada"
)
_CARD = re.compile(r"(?<![\d.,-])[2-6](?:[ -]?\d){12,24}(?!\d)")
_ACCOUNT = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{1,4}){3,8}(?![A-Za-z0-9])")
_SHORTEST_KEY = 16
_LONG = re.compile(rf"\S{{{_SHORTEST_KEY},}}")


@dataclass(frozen=True, slots=True)
class Secret:
    """What kind of secret, and where it stands in the text."""

    kind: str
    start: int
    end: int


def secrets_in(text: str) -> list[Secret]:
    """The secrets of a text by place; where two overlap, the one that begins first."""
    found: list[Secret] = []
    for one in sorted(_all(text), key=lambda one: (one.start, -one.end)):
        if not found or one.start >= found[-1].end:
            found.append(one)
        elif one.end > found[-1].end:
            found[-1] = Secret(found[-1].kind, found[-1].start, one.end)
    return found


def without_secrets(text: str, *, named: bool = True) -> str:
    """The text with the kind of each secret in its place: "my card is [card number]"; or, where it
    is not to be named, with nothing."""
    for one in reversed(secrets_in(text)):
        kind = f"[{one.kind}]" if named else ""
        text = f"{text[: one.start]}{kind}{text[one.end :]}"
    return text


def _all(text: str) -> Iterator[Secret]:
    for kind, pattern in _FORMS:
        for match in pattern.finditer(text):
            yield Secret(kind, *match.span())
    for match in _SAID.finditer(text):
        value = match["value"]
        bare = value.strip(".,;:!?\"'“„«`()").casefold()
        # A sentence about a password goes on in words; a password set apart may be any word.
        if len(bare) >= 4 and not _NO_PASSWORD.fullmatch(bare):
            yield Secret("password", *match.span("value"))
    for match in _CARD.finditer(text):
        if length := _card(match[0]):
            yield Secret("card number", match.start(), match.start() + length)
    for match in _ACCOUNT.finditer(text):
        if length := _account(match[0]):
            yield Secret("account number", match.start(), match.start() + length)
    if "://" in text or _LONG.search(text):
        for pattern in _forms_of_keys():
            for match in pattern.finditer(text):
                # A group is the key without its name, or only the beginning of the key.
                group = match.lastindex or 0
                whole = len(match[group] or "") < _SHORTEST_KEY
                yield Secret("API key", *match.span(0 if whole else group))


def _card(text: str) -> int:
    """How many characters of the text are a card number, 0 if none: another number may follow."""
    for end in range(len(text), 12, -1):
        if end == len(text) or not text[end].isdigit():
            digits = re.sub(r"\D", "", text[:end])
            if 13 <= len(digits) <= 19 and _luhn(digits):
                return end
    return 0


def _luhn(digits: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812-1)."""
    doubled = [int(one) * (1 + at % 2) for at, one in enumerate(reversed(digits))]
    return sum(one - 9 * (one > 9) for one in doubled) % 10 == 0


def _account(text: str) -> int:
    """How many characters of the text are an IBAN by its check digits (ISO 13616), 0 if none: what
    follows an account number may look like more of it."""
    for end in range(len(text), 14, -1):
        if end < len(text) and text[end] != " ":
            continue
        plain = text[:end].replace(" ", "").upper()
        if 15 <= len(plain) <= 34:
            moved = plain[4:] + plain[:4]
            if int("".join(str(int(one, 36)) for one in moved)) % 97 == 1:
                return end
    return 0


@lru_cache(maxsize=1)
def _forms_of_keys() -> tuple[re.Pattern[str], ...]:
    from importlib import import_module

    from detect_secrets.plugins.base import RegexBasedDetector

    modules = [import_module(f"detect_secrets.plugins.{name}") for name in _PLUGINS]
    kinds = [
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, RegexBasedDetector)
        if kind.__module__ == module.__name__
    ]
    return tuple(pattern for kind in kinds for pattern in kind().denylist)
