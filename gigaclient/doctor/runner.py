"""Run all checks in order, each within its limit. A failed check skips those that need it."""

from __future__ import annotations

import base64
import binascii
import datetime
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from gigaclient._primitives.secret import Secret
from gigaclient.doctor.network import Endpoint, Host, HostCheck, ProxyRoute, examine_proxies
from gigaclient.doctor.probe_socket import ProbeTimeout, within
from gigaclient.doctor.redaction import Redactor
from gigaclient.doctor.report import Check, Diagnosis, Report
from gigaclient.doctor.service import SCOPES, ServiceCheck
from gigaclient.doctor.settings_report import PREFIX, InspectedSettings, inspect_settings, misspelt_variables
from gigaclient.doctor.trust_store import examine_trust
from gigaclient.doctor.versions import examine_versions
from gigaclient.errors import ConfigError
from gigaclient.gigachat.settings import GigaChatSettings
from gigaclient.transport import origin_of
from gigaclient.transport.proxies import proxy_for

__all__ = ["examine", "examine_from"]

DEFAULT_SECONDS = 10.0

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
_NOT_CHECKED = "not checked: "
# The checks of a host: the last part of the id, and the title.
_STEPS = (("address", "address"), ("connection", "connection"), ("tls", "TLS"))


def examine(*, chat: bool = False, check_seconds: float = DEFAULT_SECONDS, **client_options: Any) -> Report:
    """Check the connection to GigaChat, with the settings that ``GigaChat(**client_options)`` would use.

    The checks are: versions, settings and their sources, unused variables of the environment, the form of the key, the
    root certificate, the proxy; for each host the address, the connection, TLS and the certificate's issuer; then the
    token, the models, the balance and the clock. It takes about a second when nothing fails.

    Only the TLS handshake goes over a connection whose certificate was refused. The key is sent only to the OAuth host,
    over a client's verified connection, and never to a host whose certificate was refused. Invalid settings are
    reported and ignored, and the rest is checked.

    Args:
        chat: also ask the model for one word; it costs a few tokens.
        check_seconds: the time limit of one check; a failed one may take as long again to find the cause.
        client_options: the arguments of ``GigaChat``; the others come from the environment, as there.

    Returns:
        The report; ``str()`` of it is one screen of text without secrets. Problems with the settings or the network
        are never raised.

    Raises:
        TypeError: ``GigaChat`` has no such argument.
        ConfigError: ``check_seconds`` is not more than 0.
    """
    return examine_from(client_options, {}, chat=chat, seconds=check_seconds)


def examine_from(
    arguments: Mapping[str, Any],
    sources: Mapping[str, str],
    *,
    problems: Mapping[str, str] | None = None,
    chat: bool = False,
    seconds: float = DEFAULT_SECONDS,
) -> Report:
    """Run :func:`examine` with arguments from other sources than the caller.

    Args:
        arguments: the arguments of ``GigaChat``; None means not set.
        sources: the source of an argument, by its name.
        problems: the reason why an argument could not be read, by its name.
        chat: as in :func:`examine`.
        seconds: ``check_seconds`` of :func:`examine`.
    """
    if not 0 < seconds < float("inf"):
        raise ConfigError("check_seconds must be a number of seconds, more than 0")
    inspected = inspect_settings(arguments, sources, problems or {})
    return _Examiner(inspected, seconds).report(chat)


class _Examiner:
    """One run of the doctor."""

    def __init__(self, inspected: InspectedSettings, seconds: float) -> None:
        self._inspected = inspected
        self._seconds = seconds
        self._now = datetime.datetime.now(datetime.timezone.utc)
        self._redact = Redactor(_secrets(inspected))
        self._checks: dict[str, Check] = {}

    def report(self, chat: bool) -> Report:
        """Run all checks and return the report."""
        inspected, settings = self._inspected, self._inspected.settings
        self._run("versions", "Versions", examine_versions)
        self._run("settings", "Settings", lambda: _examine_settings(inspected))
        self._run("environment", "Environment", lambda: _examine_environment(settings))
        self._run("key", "Key", lambda: _examine_key(inspected))
        self._run("trust", "Certificates", lambda: examine_trust(settings, self._now))
        hosts = _hosts(inspected)
        routes, problem = _routes(inspected, hosts)
        host_checks = self._host_checks(hosts, routes)
        if problem is not None:
            self._record("proxy", "Proxy", problem)
        else:
            self._run("proxy", "Proxy", lambda: examine_proxies(host_checks))
        self._check_hosts(host_checks)
        service = ServiceCheck(inspected, self._seconds)
        try:
            self._check_service(service, chat=chat)
        finally:
            service.close()
        return Report(checks=tuple(self._checks.values()), examined_at=self._now.strftime("%Y-%m-%d %H:%M"))

    # -- one check -----------------------------------------------------------------------------------------------------

    def _run(self, id: str, title: str, step: Callable[[], Diagnosis]) -> Check:
        began = time.monotonic()
        try:
            # Twice the limit: a failed check may take as long again to find the cause.
            diagnosis = within(2 * self._seconds, step)
        except ProbeTimeout:
            diagnosis = Diagnosis(
                outcome="failure",
                detail=f"not finished within {2 * self._seconds:g} s",
                next_step="the system does not respond: check the network and its name servers",
            )
        except Exception as error:  # a bug in a check must not lose the rest of the report
            diagnosis = Diagnosis(
                outcome="failure",
                detail=f"the doctor itself failed here ({type(error).__name__})",
                next_step="that is a bug in gigaclient: report it with this text",
            )
        return self._record(id, title, diagnosis, time.monotonic() - began)

    def _record(self, id: str, title: str, diagnosis: Diagnosis, seconds: float = 0.0) -> Check:
        check = self._checks[id] = Check(
            id=id,
            title=title,
            outcome=diagnosis.outcome,
            detail=self._redact(diagnosis.detail),
            next_step=self._redact(diagnosis.next_step),
            seconds=round(seconds, 3),
        )
        return check

    def _missing(self, id: str) -> str:
        """Return what is missing because this check failed or was skipped; "" after a success."""
        check = self._checks.get(id)
        if check is None:
            return ""
        if check.outcome == "failure":
            return _MISSING.get(id) or _MISSING[id.partition(".")[2]]
        if check.detail.startswith(_NOT_CHECKED):
            return check.detail.removeprefix(_NOT_CHECKED)
        return ""

    # -- the hosts -----------------------------------------------------------------------------------------------------

    def _host_checks(self, hosts: list[Host], routes: list[ProxyRoute]) -> list[HostCheck]:
        proxies: dict[str, Endpoint] = {}
        host_checks = []
        for host, route in zip(hosts, routes, strict=True):
            if route.proxy is None:
                endpoint = Endpoint(host.name, host.port, host.setting, self._seconds)
            else:
                address = route.proxy.reveal()
                endpoint = proxies.setdefault(address, Endpoint(*route.address, route.source, self._seconds))
            host_checks.append(HostCheck(host, route, endpoint, self._inspected.settings.trust, self._now))
        return host_checks

    def _check_hosts(self, host_checks: list[HostCheck]) -> None:
        """Run the checks of all hosts, the hosts in parallel."""
        for id, title, setting in _HOSTS:  # these entries come first and fix the order of the report
            if any(host_check.host.id == id for host_check in host_checks) or not self._inspected.can_use(setting):
                for name, step_title in _STEPS:
                    self._record(f"{id}.{name}", f"{title}: {step_title}", _not_checked(f"{setting} is not valid"))
        threads = [
            threading.Thread(target=self._check_host, args=(host_check,), name="gigaclient-doctor", daemon=True)
            for host_check in host_checks
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():  # in short waits: a wait without a timeout cannot be interrupted on Windows
                thread.join(0.5)

    def _check_host(self, host_check: HostCheck) -> None:
        missing = self._missing("proxy") if host_check.route.proxy is not None else ""
        for name, _ in _STEPS:
            id = f"{host_check.host.id}.{name}"
            title = self._checks[id].title
            if missing:
                self._record(id, title, _not_checked(missing))
                continue
            step = {
                "address": host_check.resolve,
                "connection": host_check.check_connection,
                "tls": host_check.check_tls,
            }[name]
            self._run(id, title, step)
            missing = self._missing(id)

    # -- the service ---------------------------------------------------------------------------------------------------

    def _check_service(self, service: ServiceCheck, *, chat: bool) -> None:
        settings = self._inspected.settings
        no_proxy = self._missing_proxy()
        has_key = self._checks["key"].outcome not in ("failure", "not_checked")
        fetches = settings.credentials is not None
        no_api = no_proxy or self._missing_route("api")
        no_token = no_proxy or (self._missing("key")) or self._missing_route("auth" if fetches else "api")
        if has_key and not no_token:
            self._run("token", "Token", service.fetch_token)
            no_token = self._missing("token")
        else:
            self._record("token", "Token", _not_checked(no_token))
        if no_api or no_token:
            self._run("models", "Models", lambda: self._without_token(service, no_api, no_token))
            self._record("balance", "Balance", _not_checked(no_api or no_token))
        else:
            self._run("models", "Models", service.list_models)
            self._run("balance", "Balance", service.read_balance)
        self._run("clock", "Clock", service.compare_clocks)
        if chat and (no_api or no_token):
            self._record("chat", "Chat", _not_checked(no_api or no_token))
        elif chat:
            self._run("chat", "Chat", service.chat)

    def _without_token(self, service: ServiceCheck, no_api: str, no_token: str) -> Diagnosis:
        if no_api:
            return _not_checked(no_api)
        diagnosis = service.try_connect()
        if diagnosis.outcome == "failure":
            return diagnosis
        return _not_checked(f"{no_token}; {diagnosis.detail}")

    def _missing_proxy(self) -> str:
        if self._checks["proxy"].outcome == "failure" and not self._inspected.settings.session:
            return self._missing("proxy")
        return ""

    def _missing_route(self, id: str) -> str:
        """Return what the connection to a host lacks; "" with ``session=``, which may connect in another way."""
        if self._inspected.settings.session is not None:
            return ""
        if f"{id}.tls" not in self._checks:
            id = "api"
        return self._missing(f"{id}.tls") or self._missing(f"{id}.connection") or self._missing(f"{id}.address")


_MISSING = {
    "address": "no address",
    "connection": "no connection",
    "key": "no key",
    "proxy": "no connection through the proxy",
    "tls": "no TLS",
    "token": "no token",
}


def _not_checked(reason: str) -> Diagnosis:
    return Diagnosis(outcome="not_checked", detail=_NOT_CHECKED + reason)


def _secrets(inspected: InspectedSettings) -> list[str]:
    secrets = [secret.reveal() for secret in inspected.secrets]
    if inspected.settings.credentials is not None:
        secrets += _decoded(inspected.settings.credentials)
    for name in _PROXY_VARIABLES:
        secrets.append(os.environ.get(name, ""))
    for address in list(secrets):
        try:
            password = urlsplit(address).password or ""
        except ValueError:
            continue
        secrets += [password, unquote(password)]
    return secrets


def _decoded(key: Secret) -> tuple[str, str] | tuple[()]:
    try:
        first, colon, second = base64.b64decode(key.reveal()).decode("utf-8", "replace").partition(":")
    except (binascii.Error, ValueError):
        return ()
    return (first, second) if colon else ()


# -- what needs no network -------------------------------------------------------------------------------------------


def _examine_settings(inspected: InspectedSettings) -> Diagnosis:
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
    sources = {setting.name: setting.source for setting in inspected.explicit_settings}
    labels = [PREFIX + name.upper() if name not in sources else _label(name, sources[name]) for name in broken]
    return Diagnosis(
        outcome="failure",
        detail="\n".join(lines),
        next_step=f"fix or remove {', '.join(labels)}; the checks below ignore it",
    )


_KEY_SETTINGS = ("access_token", "credentials", "password", "user")


def _with_name(name: str, reason: str) -> str:
    return reason if name in reason or name.upper() in reason else f"{name}: {reason}"


def _label(name: str, source: str) -> str:
    return source if source.startswith(PREFIX) else f"{name}= ({source})"


def _examine_environment(settings: GigaChatSettings) -> Diagnosis:
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
    bundle = next((name for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if os.environ.get(name)), None)
    notes, ignored = [], []
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        value = os.environ.get(name)
        if value and settings.trust.kind == "system" and bundle in (name, None):
            notes.append(f"{name} = {value}: used" + ("" if os.path.exists(value) else ", but it does not exist"))
        elif value:
            ignored.append(name)
    ignored += [name for name in ("NETRC", "SSLKEYLOGFILE") if os.environ.get(name)]
    has_proxy = settings.proxy is not None or any(os.environ.get(name) for name in _PROXY_VARIABLES)
    if not has_proxy and (os.environ.get("HTTP_PROXY") or os.environ.get("http_proxy")):
        ignored.append("HTTP_PROXY (HTTPS_PROXY is for these addresses)")
    if ignored:
        notes.append(f"ignored: {', '.join(ignored)}")
    return notes


# -- the key ---------------------------------------------------------------------------------------------------------


def _examine_key(inspected: InspectedSettings) -> Diagnosis:
    """Check the credentials of the client, by their form only."""
    settings = inspected.settings
    for name in _KEY_SETTINGS:
        if name in inspected.problems:
            message, _, advice = inspected.problems[name].partition("; ")
            return Diagnosis(
                outcome="failure",
                detail=message,
                next_step=advice or "copy it again from the project's page in Studio",
            )
    if settings.credentials is not None:
        return _examine_credentials(inspected, settings.credentials)
    if settings.user is not None:
        return Diagnosis(detail="user and password, for a server whose base_url has /token")
    if settings.access_token is not None:
        return Diagnosis(
            outcome="warning",
            detail=f"an access token of {len(settings.access_token)} characters",
            next_step="a token expires after half an hour, and this one cannot be refreshed: pass credentials= (the "
            "authorization key) if the program runs longer",
        )
    if settings.trust.cert_file is not None or settings.trust.ssl_context is not None:
        return Diagnosis(detail="the client certificate identifies the client")
    return Diagnosis(
        outcome="failure",
        detail="no key: neither credentials nor an access token, a user or a certificate",
        next_step="set GIGACHAT_CREDENTIALS to the authorization key from the project's page in Studio, or store it "
        "with gigaclient login",
    )


def _examine_credentials(inspected: InspectedSettings, key: Secret) -> Diagnosis:
    settings = inspected.settings
    first, second = _decoded(key) or ("", "")
    lines = [f"authorization key of {len(key)} characters: base64 of id:secret, for {settings.scope}"]
    steps = []
    originals = [secret.reveal() for secret in inspected.secrets]
    if key.reveal() not in originals:
        lines.append("quotes, spaces, a scheme or missing padding around it were corrected")
    odd = [name for name, part in (("id", first), ("secret", second)) if not _UUID.fullmatch(part)]
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


# -- hosts and proxies -----------------------------------------------------------------------------------------------

_HOSTS = (("api", "API", "base_url"), ("auth", "OAuth", "auth_url"), ("v2", "API v2", "v2_url"))


def _hosts(inspected: InspectedSettings) -> list[Host]:
    """Return the hosts that the client would use, each once, without those whose address is not valid."""
    settings = inspected.settings
    asks_for_token = settings.access_token is None and settings.user is None and settings.trust.cert_file is None
    addresses = {"api": settings.base_url, "v2": settings.chat_v2_url}
    if settings.credentials is not None or asks_for_token or "credentials" in inspected.problems:
        addresses["auth"] = settings.auth_url
    labels = {one.name: _label(one.name, one.source) for one in inspected.explicit_settings}
    hosts: dict[str, Host] = {}
    for id, title, setting in _HOSTS:
        # Without v2_url, the address of API v2 is derived from base_url.
        address_setting = "base_url" if setting == "v2_url" and settings.v2_url is None else setting
        if id in addresses and inspected.can_use(address_setting):
            origin = origin_of(addresses[id])
            hosts.setdefault(origin, Host(id=id, title=title, origin=origin, setting=labels.get(address_setting, "")))
    return list(hosts.values())


def _routes(inspected: InspectedSettings, hosts: list[Host]) -> tuple[list[ProxyRoute], Diagnosis | None]:
    """Return the proxy for each host, and a failure if the setting is not a valid proxy."""
    settings = inspected.settings
    routes = []
    for host in hosts:
        try:
            proxy = proxy_for(host.origin, settings.proxy, settings.session)
        except ConfigError as error:
            source = _proxy_source(inspected, None, is_broken=True)
            failure = Diagnosis(
                outcome="failure",
                detail=f"{error.message}\nthe checks below ignore it",
                next_step=f"fix or unset {source}: an http:// proxy works, and NO_PROXY={host.name} bypasses it",
            )
            return [ProxyRoute() for _ in hosts], failure
        routes.append(ProxyRoute(proxy=proxy, source=_proxy_source(inspected, proxy)))
    return routes, None


def _proxy_source(inspected: InspectedSettings, proxy: Secret | None, *, is_broken: bool = False) -> str:
    """Return the setting that selects the proxy; without a proxy, the setting that bypasses it."""
    for setting in inspected.explicit_settings:
        if setting.name == "proxy":
            return _label("proxy", setting.source)
    explicit = [name for name in _PROXY_VARIABLES if os.environ.get(name)]
    if is_broken:
        return explicit[0] if explicit else "the system's settings"
    if proxy is None:
        return f"NO_PROXY bypasses {explicit[0]}" if explicit else ""
    for name in explicit:
        if proxy.reveal() in (os.environ[name], f"http://{os.environ[name]}"):
            return name
    return "the session" if inspected.settings.session is not None else "the system's settings"
