"""The whole examination: which check stands on which, each within its limit, whatever happens."""

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
from gigaclient.doctor.network import Endpoint, Host, HostCheck, ProxyRoute, examine_proxy
from gigaclient.doctor.probe_socket import ProbeTimeout, within
from gigaclient.doctor.redaction import Scrubber
from gigaclient.doctor.report import Check, Diagnosis, Report
from gigaclient.doctor.service import SCOPES, ServiceCheck
from gigaclient.doctor.settings_report import PREFIX, Plan, misspelt, read_plan
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
# The steps to a host: the last part of their ids, and what people call them.
_STEPS = (("address", "address"), ("connection", "connection"), ("tls", "TLS"))


def examine(*, chat: bool = False, check_seconds: float = DEFAULT_SECONDS, **client_options: Any) -> Report:
    """Find out what works between this machine and GigaChat, as ``GigaChat(**client_options)`` would meet it.

    Looks at the versions, the settings and where each came from, names in the environment that nobody reads, the key's
    form, the root certificate, the proxy, for each host its address, the connection and TLS with the issuer met, then
    the token, the models, the balance and the clock. It takes about a second where all is well.

    Nothing but handshakes goes over a connection whose certificate was refused; the key goes to the OAuth host alone,
    on a client's own verified connection, and not at all where that host was not believed. Settings that cannot be used
    are reported and put aside, and the rest is looked at.

    Args:
        chat: have the model say a word, too; it costs a few tokens.
        check_seconds: how long a check may take; one that failed may take as long again to find out why.
        client_options: what ``GigaChat`` takes; what is not given comes from the environment, as there.

    Returns:
        The report; ``str()`` of it is one screen of text without secrets. Nothing that is wrong with the settings or
        the network is raised.

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
    """As :func:`examine`, for those who got the arguments from elsewhere.

    Args:
        arguments: what ``GigaChat`` takes; None is not given.
        sources: where an argument came from, by its name, in words.
        problems: why an argument could not be had, by its name.
        chat: as above.
        seconds: ``check_seconds`` above.
    """
    if not 0 < seconds < float("inf"):
        raise ConfigError("check_seconds must be a number of seconds, more than 0")
    plan = read_plan(arguments, sources, problems or {})
    return _Examination(plan, seconds).report(chat)


class _Examination:
    def __init__(self, plan: Plan, seconds: float) -> None:
        self._plan = plan
        self._seconds = seconds
        self._now = datetime.datetime.now(datetime.timezone.utc)
        self._scrub = Scrubber(_secrets(plan))
        self._checks: dict[str, Check] = {}

    def report(self, chat: bool) -> Report:
        plan, settings = self._plan, self._plan.settings
        self._look("versions", "Versions", examine_versions)
        self._look("settings", "GigaChatSettings", lambda: _examine_settings(plan))
        self._look("environment", "Environment", lambda: _examine_environment(settings))
        self._look("key", "Key", lambda: _examine_key(plan))
        self._look("trust", "Certificates", lambda: examine_trust(settings, self._now))
        hosts = _hosts(plan)
        routes, problem = _routes(plan, hosts)
        ways = self._ways(hosts, routes)
        if problem is not None:
            self._put("proxy", "Proxy", problem)
        else:
            self._look("proxy", "Proxy", lambda: examine_proxy(ways))
        self._walk(ways)
        service = ServiceCheck(plan, self._seconds)
        try:
            self._ask(service, chat=chat)
        finally:
            service.close()
        return Report(checks=tuple(self._checks.values()), examined_at=self._now.strftime("%Y-%m-%d %H:%M"))

    # -- one check -----------------------------------------------------------------------------------------------------

    def _look(self, id: str, title: str, step: Callable[[], Diagnosis]) -> Check:
        began = time.monotonic()
        try:
            # Twice: what failed may take as long again to find out why.
            found = within(2 * self._seconds, step)
        except ProbeTimeout:
            found = Diagnosis(
                outcome="failure",
                detail=f"no end within {2 * self._seconds:g} s",
                next_step="the system does not answer: check the network and its name servers",
            )
        except Exception as error:  # a mistake in here must not take the rest of the report with it
            found = Diagnosis(
                outcome="failure",
                detail=f"the doctor itself failed here ({type(error).__name__})",
                next_step="that is a fault of gigaclient: report it, with this page",
            )
        return self._put(id, title, found, time.monotonic() - began)

    def _put(self, id: str, title: str, found: Diagnosis, seconds: float = 0.0) -> Check:
        check = self._checks[id] = Check(
            id=id,
            title=title,
            outcome=found.outcome,
            detail=self._scrub(found.detail),
            next_step=self._scrub(found.next_step),
            seconds=round(seconds, 3),
        )
        return check

    def _lacks(self, id: str) -> str:
        """What is missing where a check failed, or was left out because of another that did; "" where it stands."""
        check = self._checks.get(id)
        if check is None:
            return ""
        if check.outcome == "failure":
            return _MISSING.get(id) or _MISSING[id.partition(".")[2]]
        if check.detail.startswith(_NOT_CHECKED):
            return check.detail.removeprefix(_NOT_CHECKED)
        return ""

    # -- the hosts -----------------------------------------------------------------------------------------------------

    def _ways(self, hosts: list[Host], routes: list[ProxyRoute]) -> list[HostCheck]:
        proxies: dict[str, Endpoint] = {}
        ways = []
        for host, route in zip(hosts, routes, strict=True):
            if route.proxy is None:
                door = Endpoint(host.name, host.port, host.setting, self._seconds)
            else:
                address = route.proxy.reveal()
                door = proxies.setdefault(address, Endpoint(*route.place, route.source, self._seconds))
            ways.append(HostCheck(host, route, door, self._plan.settings.trust, self._now))
        return ways

    def _walk(self, ways: list[HostCheck]) -> None:
        """The steps to each host, the hosts side by side."""
        for id, title, setting in _HOSTS:  # the places first, so that the report has its order
            if any(way.host.id == id for way in ways) or not self._plan.can_use(setting):
                for name, what in _STEPS:
                    self._put(f"{id}.{name}", f"{title}: {what}", _not_checked(f"{setting} cannot be used"))
        threads = [
            threading.Thread(target=self._walk_to, args=(way,), name="gigaclient-doctor", daemon=True) for way in ways
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():  # in slices: a wait without an end cannot be interrupted on every system
                thread.join(0.5)

    def _walk_to(self, way: HostCheck) -> None:
        missing = self._lacks("proxy") if way.route.proxy is not None else ""
        for name, _ in _STEPS:
            id = f"{way.host.id}.{name}"
            title = self._checks[id].title
            if missing:
                self._put(id, title, _not_checked(missing))
                continue
            step = {"address": way.look_up, "connection": way.reach, "tls": way.shake_hands}[name]
            self._look(id, title, step)
            missing = self._lacks(id)

    # -- the service ---------------------------------------------------------------------------------------------------

    def _ask(self, service: ServiceCheck, *, chat: bool) -> None:
        settings = self._plan.settings
        no_client = self._no_client()
        has_key = self._checks["key"].outcome not in ("failure", "not_checked")
        fetches = settings.credentials is not None
        no_api = no_client or self._no_way("api")
        no_token = no_client or (self._lacks("key")) or self._no_way("auth" if fetches else "api")
        if has_key and not no_token:
            self._look("token", "Token", service.fetch_token)
            no_token = self._lacks("token")
        else:
            self._put("token", "Token", _not_checked(no_token))
        if no_api or no_token:
            self._look("models", "Models", lambda: self._without_token(service, no_api, no_token))
            self._put("balance", "Balance", _not_checked(no_api or no_token))
        else:
            self._look("models", "Models", service.list_models)
            self._look("balance", "Balance", service.read_balance)
        self._look("clock", "Clock", service.compare_clocks)
        if chat and (no_api or no_token):
            self._put("chat", "Chat", _not_checked(no_api or no_token))
        elif chat:
            self._look("chat", "Chat", service.chat)

    def _without_token(self, service: ServiceCheck, no_api: str, no_token: str) -> Diagnosis:
        if no_api:
            return _not_checked(no_api)
        answered = service.try_connect()
        if answered.outcome == "failure":
            return answered
        return _not_checked(f"{no_token}; {answered.detail}")

    def _no_client(self) -> str:
        if self._checks["proxy"].outcome == "failure" and not self._plan.settings.session:
            return self._lacks("proxy")
        return ""

    def _no_way(self, id: str) -> str:
        """What is missing on the way to a host; a session of the user's own may know another way."""
        if self._plan.settings.session is not None:
            return ""
        if f"{id}.tls" not in self._checks:
            id = "api"
        return self._lacks(f"{id}.tls") or self._lacks(f"{id}.connection") or self._lacks(f"{id}.address")


_MISSING = {
    "address": "no address",
    "connection": "no connection",
    "key": "no key",
    "proxy": "no way through the proxy",
    "tls": "no TLS",
    "token": "no token",
}


def _not_checked(why: str) -> Diagnosis:
    return Diagnosis(outcome="not_checked", detail=_NOT_CHECKED + why)


def _secrets(plan: Plan) -> list[str]:
    secrets = [secret.reveal() for secret in plan.secrets]
    if plan.settings.credentials is not None:
        secrets += _decoded(plan.settings.credentials)
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


def _examine_settings(plan: Plan) -> Diagnosis:
    lines = []
    for given in plan.given:
        line = f"{given.name} = {given.shown} ({given.source})"
        lines.append(f"{line}: {given.unused}" if given.unused else line)
    named = {given.name for given in plan.given if not given.unused}
    defaults = [
        f"{name} = {getattr(plan.settings, name)}" for name in ("base_url", "scope", "model") if name not in named
    ]
    if defaults:
        lines.append(f"{', '.join(defaults)} (default)")
    broken = {name: why for name, why in plan.problems.items() if name not in _KEY_SETTINGS}
    if not broken:
        return Diagnosis(detail="\n".join(lines))
    lines = [f"cannot be used: {_told(name, why)}" for name, why in broken.items()] + lines
    sources = {given.name: given.source for given in plan.given}
    where = [PREFIX + name.upper() if name not in sources else _place(name, sources[name]) for name in broken]
    return Diagnosis(
        outcome="failure",
        detail="\n".join(lines),
        next_step=f"mend or remove {', '.join(where)}; what follows was looked at without",
    )


_KEY_SETTINGS = ("access_token", "credentials", "password", "user")


def _told(name: str, why: str) -> str:
    return why if name in why or name.upper() in why else f"{name}: {why}"


def _place(name: str, source: str) -> str:
    return source if source.startswith(PREFIX) else f"{name}= ({source})"


def _examine_environment(settings: GigaChatSettings) -> Diagnosis:
    lines, steps, unknown = [], [], []
    for variable, meant in misspelt():
        if meant:
            lines.append(f"{variable} is not read; {meant} would be")
            steps.append(f"rename {variable} to {meant}")
        else:
            unknown.append(variable)
    for name, value in sorted(os.environ.items()):
        if name.startswith(PREFIX) and not value.strip():
            lines.append(f"{name} is empty, which counts as not set")
            steps.append(f"set {name}, or remove it")
    if unknown:
        lines.append(f"no settings of gigaclient: {', '.join(unknown)}")
    lines += _notes(settings)
    return Diagnosis(
        outcome="warning" if steps else "ok",
        detail="\n".join(lines) or "nothing in it is ignored or misspelt",
        next_step="; ".join(steps),
    )


def _notes(settings: GigaChatSettings) -> list[str]:
    """Variables that other programs obey, and what becomes of them here."""
    bundle = next((name for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if os.environ.get(name)), None)
    notes, ignored = [], []
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        value = os.environ.get(name)
        if value and settings.trust.kind == "system" and bundle in (name, None):
            notes.append(f"{name} = {value}: used" + ("" if os.path.exists(value) else ", and it is not there"))
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


def _examine_key(plan: Plan) -> Diagnosis:
    """Who the client says it is, by the form of what was given alone."""
    settings = plan.settings
    for name in _KEY_SETTINGS:
        if name in plan.problems:
            said, _, advice = plan.problems[name].partition("; ")
            return Diagnosis(
                outcome="failure",
                detail=said,
                next_step=advice or "copy it again from the project's page in Studio",
            )
    if settings.credentials is not None:
        return _examine_credentials(plan, settings.credentials)
    if settings.user is not None:
        return Diagnosis(detail="user and password, for a stand whose base_url has /token")
    if settings.access_token is not None:
        return Diagnosis(
            outcome="warning",
            detail=f"an access token of {len(settings.access_token)} characters",
            next_step="a token ends after half an hour, and this one cannot be renewed: pass credentials= (the "
            "authorization key) if the program runs longer",
        )
    if settings.trust.cert_file is not None or settings.trust.ssl_context is not None:
        return Diagnosis(detail="the client certificate says who we are")
    return Diagnosis(
        outcome="failure",
        detail="no key: neither credentials nor an access token, a user or a certificate",
        next_step="set GIGACHAT_CREDENTIALS to the authorization key from the project's page in Studio, or store it "
        "with gigaclient login",
    )


def _examine_credentials(plan: Plan, key: Secret) -> Diagnosis:
    settings = plan.settings
    first, second = _decoded(key) or ("", "")
    lines = [f"authorization key of {len(key)} characters: base64 of id:secret, for {settings.scope}"]
    steps = []
    given = [secret.reveal() for secret in plan.secrets]
    if key.reveal() not in given:
        lines.append("quotes, spaces, a scheme or lost padding around it were mended")
    odd = [name for name, part in (("id", first), ("secret", second)) if not _UUID.fullmatch(part)]
    if odd:
        lines.append(
            f"the {' and the '.join(odd)} in it {'are no UUIDs' if len(odd) > 1 else 'is no UUID'}, as usual keys have"
        )
        steps.append("if the token is refused, copy the key again from the project's page in Studio")
    if settings.scope not in SCOPES:
        lines.append(f"{settings.scope} is none of the known scopes")
        steps.append(f"set GIGACHAT_SCOPE to one of {', '.join(SCOPES)}")
    if settings.access_token is not None:
        lines.append("an access token is given as well: a client would use it first, the doctor looks at the key")
    return Diagnosis(outcome="warning" if steps else "ok", detail="\n".join(lines), next_step="; ".join(steps))


# -- hosts and proxies -----------------------------------------------------------------------------------------------

_HOSTS = (("api", "API", "base_url"), ("auth", "OAuth", "auth_url"), ("v2", "API v2", "v2_url"))


def _hosts(plan: Plan) -> list[Host]:
    """The hosts that the client would talk to, each once, but for those whose address cannot be used."""
    settings = plan.settings
    asks_for_token = settings.access_token is None and settings.user is None and settings.trust.cert_file is None
    addresses = {"api": settings.base_url, "v2": settings.chat_v2_url}
    if settings.credentials is not None or asks_for_token or "credentials" in plan.problems:
        addresses["auth"] = settings.auth_url
    given = {one.name: _place(one.name, one.source) for one in plan.given}
    hosts: dict[str, Host] = {}
    for id, title, setting in _HOSTS:
        # Beside the API, chat of v2 has its address from there.
        named = "base_url" if setting == "v2_url" and settings.v2_url is None else setting
        if id in addresses and plan.can_use(named):
            origin = origin_of(addresses[id])
            hosts.setdefault(origin, Host(id=id, title=title, origin=origin, setting=given.get(named, "")))
    return list(hosts.values())


def _routes(plan: Plan, hosts: list[Host]) -> tuple[list[ProxyRoute], Diagnosis | None]:
    """The proxy on the way to each host; and what is wrong with it, if it can be none."""
    settings = plan.settings
    routes = []
    for host in hosts:
        try:
            proxy = proxy_for(host.origin, settings.proxy, settings.session)
        except ConfigError as error:
            source = _proxy_source(plan, None, is_broken=True)
            failure = Diagnosis(
                outcome="failure",
                detail=f"{error.message}\nwhat follows was looked at without it",
                next_step=f"mend or unset {source}: an http:// proxy works, and NO_PROXY={host.name} leads past one",
            )
            return [ProxyRoute() for _ in hosts], failure
        routes.append(ProxyRoute(proxy=proxy, source=_proxy_source(plan, proxy)))
    return routes, None


def _proxy_source(plan: Plan, proxy: Secret | None, *, is_broken: bool = False) -> str:
    """Where the proxy was named; where there is none, why one that is named does not count."""
    for given in plan.given:
        if given.name == "proxy":
            return _place("proxy", given.source)
    named = [name for name in _PROXY_VARIABLES if os.environ.get(name)]
    if is_broken:
        return named[0] if named else "the system's settings"
    if proxy is None:
        return f"NO_PROXY leads past {named[0]}" if named else ""
    for name in named:
        if proxy.reveal() in (os.environ[name], f"http://{os.environ[name]}"):
            return name
    return "the session" if plan.settings.session is not None else "the system's settings"
