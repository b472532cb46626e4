"""The checks that need no network: settings, environment, and the form of the key."""

from __future__ import annotations

import os

from gigaclient._primitives.secret import Secret
from gigaclient.doctor.report import Diagnosis
from gigaclient.doctor.settings_report import PREFIX, InspectedSettings, misspelt_variables
from gigaclient.doctor.trust_store import bundle_variable
from gigaclient.gigachat.credentials import UUID, split_key
from gigaclient.gigachat.scopes import SCOPES
from gigaclient.gigachat.settings import GigaChatSettings
from gigaclient.transport.proxies import PROXY_VARIABLES

__all__ = ["examine_environment", "examine_key", "examine_settings"]

_KEY_SETTINGS = ("access_token", "credentials", "password", "user")


def examine_settings(inspected: InspectedSettings) -> Diagnosis:
    """Check the settings of the client, and list those that were set."""
    lines = []
    for setting in inspected.explicit_settings:
        line = f"{setting.name} = {setting.display} ({setting.source})"
        lines.append(f"{line}: {setting.unused_reason}" if setting.unused_reason else line)
    explicit = {setting.name for setting in inspected.explicit_settings if not setting.unused_reason}
    defaults = [
        f"{name} = {getattr(inspected.settings, name)}"
        for name in ("base_url", "scope", "model")
        if name not in explicit
    ]
    if defaults:
        lines.append(f"{', '.join(defaults)} (default)")
    broken = {name: reason for name, reason in inspected.problems.items() if name not in _KEY_SETTINGS}
    if not broken:
        return Diagnosis(detail="\n".join(lines))
    lines = [f"not valid: {_with_name(name, reason)}" for name, reason in broken.items()] + lines
    labels = {setting.name: setting.label for setting in inspected.explicit_settings}
    to_fix = [labels.get(name, PREFIX + name.upper()) for name in broken]
    return Diagnosis.failure("\n".join(lines), f"fix or remove {', '.join(to_fix)}; the checks below ignore it")


def _with_name(name: str, reason: str) -> str:
    return reason if name in reason or name.upper() in reason else f"{name}: {reason}"


def examine_environment(settings: GigaChatSettings) -> Diagnosis:
    """Check the environment for variables that are ignored, misspelt or empty."""
    lines, steps, unknown = [], [], []
    for variable, correct_name in misspelt_variables():
        if correct_name:
            lines.append(f"{variable} is not read; {correct_name} is")
            steps.append(f"rename {variable} to {correct_name}")
        else:
            unknown.append(variable)
    for name, value in sorted(os.environ.items()):
        if name.startswith(PREFIX) and not value.strip():
            lines.append(f"{name} is empty, which means not set")
            steps.append(f"set {name}, or remove it")
    if unknown:
        lines.append(f"not settings of gigaclient: {', '.join(unknown)}")
    lines += _notes(settings)
    return Diagnosis(
        outcome="warning" if steps else "ok",
        detail="\n".join(lines) or "no variable is ignored or misspelt",
        next_step="; ".join(steps),
    )


def _notes(settings: GigaChatSettings) -> list[str]:
    """Report the variables that other programs use: which of them gigaclient uses, and which it ignores."""
    bundle = bundle_variable()
    notes, ignored = [], []
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        value = os.environ.get(name)
        if value and settings.trust.mode == "system" and bundle in (name, None):
            notes.append(f"{name} = {value}: used" + ("" if os.path.exists(value) else ", but it does not exist"))
        elif value:
            ignored.append(name)
    ignored += ["NETRC"] if os.environ.get("NETRC") else []
    if os.environ.get("SSLKEYLOGFILE"):
        notes.append(
            "SSLKEYLOGFILE is set: its file gets the keys that decrypt each connection; unset it after debugging"
        )
    has_proxy = settings.proxy is not None or any(os.environ.get(name) for name in PROXY_VARIABLES)
    if not has_proxy and (os.environ.get("HTTP_PROXY") or os.environ.get("http_proxy")):
        ignored.append("HTTP_PROXY (HTTPS_PROXY is for these addresses)")
    if ignored:
        notes.append(f"ignored: {', '.join(ignored)}")
    return notes


# -- the key ---------------------------------------------------------------------------------------------------------


def examine_key(inspected: InspectedSettings) -> Diagnosis:
    """Check the credentials of the client, by their form only."""
    settings = inspected.settings
    for name in _KEY_SETTINGS:
        if name in inspected.problems:
            message, _, advice = inspected.problems[name].partition("; ")
            return Diagnosis.failure(message, advice or "copy it again from the project's page in Studio")
    if settings.credentials is not None:
        return _examine_credentials(inspected, settings.credentials)
    if settings.user is not None:
        return Diagnosis(detail="user and password, for a server whose base_url has /token")
    if settings.access_token is not None:
        return Diagnosis.warning(
            f"an access token of {len(settings.access_token)} characters",
            "a token expires after half an hour, and this one cannot be refreshed: pass credentials= (the "
            "authorization key) if the program runs longer",
        )
    if settings.trust.cert_file is not None or settings.trust.ssl_context is not None:
        return Diagnosis(detail="the client certificate identifies the client")
    return Diagnosis.failure(
        "no key: neither credentials nor an access token, a user or a certificate",
        "set GIGACHAT_CREDENTIALS to the authorization key from the project's page in Studio, or store it "
        "with gigaclient login",
    )


def _examine_credentials(inspected: InspectedSettings, key: Secret) -> Diagnosis:
    settings = inspected.settings
    first, second = split_key(key) or ("", "")
    lines = [f"authorization key of {len(key)} characters: base64 of id:secret, for {settings.scope}"]
    steps = []
    originals = [secret.reveal() for secret in inspected.secrets]
    if key.reveal() not in originals:
        lines.append("quotes, spaces, a scheme or missing padding around it were corrected")
    odd = [name for name, part in (("id", first), ("secret", second)) if not UUID.fullmatch(part)]
    if odd:
        lines.append(
            f"the {' and the '.join(odd)} in it {'are not UUIDs' if len(odd) > 1 else 'is not a UUID'}; usual keys "
            "have UUIDs"
        )
        steps.append("if the token is refused, copy the key again from the project's page in Studio")
    if settings.scope not in SCOPES:
        lines.append(f"{settings.scope} is not a known scope")
        steps.append(f"set GIGACHAT_SCOPE to one of {', '.join(SCOPES)}")
    if settings.access_token is not None:
        lines.append("an access token is set too: a client would use it first, the doctor checks the key")
    return Diagnosis(outcome="warning" if steps else "ok", detail="\n".join(lines), next_step="; ".join(steps))
