"""Run all checks in order, each within its limit. A failed check skips those that need it."""

from __future__ import annotations

import datetime
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from gigaclient._primitives.secret import secret_parts
from gigaclient.doctor.endpoints import HOSTS, Endpoint, Host, ProxyRoute, find_hosts, find_routes
from gigaclient.doctor.local_checks import examine_environment, examine_key, examine_settings
from gigaclient.doctor.network import HostCheck, examine_proxies
from gigaclient.doctor.probe_socket import ProbeTimeout, within
from gigaclient.doctor.redaction import Redactor
from gigaclient.doctor.report import Check, Diagnosis, Report
from gigaclient.doctor.service import ServiceCheck, explain_failure
from gigaclient.doctor.settings_report import InspectedSettings, inspect_settings
from gigaclient.doctor.trust_store import examine_trust
from gigaclient.doctor.versions import examine_versions
from gigaclient.errors import ConfigError, GigaClientError
from gigaclient.gigachat.credentials import split_key
from gigaclient.transport.proxies import PROXY_VARIABLES

__all__ = ["examine", "examine_from"]

DEFAULT_SECONDS = 10.0

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
        self._run("settings", "Settings", lambda: examine_settings(inspected))
        self._run("environment", "Environment", lambda: examine_environment(settings))
        self._run("key", "Key", lambda: examine_key(inspected))
        self._run("trust", "Certificates", lambda: examine_trust(settings, self._now))
        hosts = find_hosts(inspected)
        routes, problem = find_routes(inspected, hosts)
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
            diagnosis = Diagnosis.failure(
                f"not finished within {2 * self._seconds:g} s",
                "the system does not respond: check the network and its name servers",
            )
        except GigaClientError as error:
            diagnosis = explain_failure(error)
        except Exception as error:  # a bug in a check must not lose the rest of the report
            diagnosis = Diagnosis.failure(
                f"the doctor itself failed here ({type(error).__name__})",
                "that is a bug in gigaclient: report it with this text",
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
        for id, title, setting in HOSTS:  # these entries come first and fix the order of the report
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
        missing_proxy = self._missing_proxy()
        has_key = self._checks["key"].outcome not in ("failure", "not_checked")
        fetches = settings.credentials is not None
        missing_for_api = missing_proxy or self._missing_route("api")
        missing_token = missing_proxy or self._missing("key") or self._missing_route("auth" if fetches else "api")
        if has_key and not missing_token:
            self._run("token", "Token", service.fetch_token)
            missing_token = self._missing("token")
        else:
            self._record("token", "Token", _not_checked(missing_token))
        if missing_for_api or missing_token:
            self._run("models", "Models", lambda: self._without_token(service, missing_for_api, missing_token))
            self._record("balance", "Balance", _not_checked(missing_for_api or missing_token))
        else:
            self._run("models", "Models", service.list_models)
            self._run("balance", "Balance", service.read_balance)
        self._run("clock", "Clock", service.compare_clocks)
        if chat and (missing_for_api or missing_token):
            self._record("chat", "Chat", _not_checked(missing_for_api or missing_token))
        elif chat:
            self._run("chat", "Chat", service.chat)

    def _without_token(self, service: ServiceCheck, missing_for_api: str, missing_token: str) -> Diagnosis:
        if missing_for_api:
            return _not_checked(missing_for_api)
        diagnosis = service.try_connect()
        if diagnosis.outcome == "failure":
            return diagnosis
        return _not_checked(f"{missing_token}; {diagnosis.detail}")

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
    return Diagnosis.not_checked(_NOT_CHECKED + reason)


def _secrets(inspected: InspectedSettings) -> list[str]:
    secrets = [secret.reveal() for secret in inspected.secrets]
    if inspected.settings.credentials is not None:
        secrets += secret_parts(":".join(split_key(inspected.settings.credentials)))
    for name in PROXY_VARIABLES:
        secrets.append(os.environ.get(name, ""))
    for address in list(secrets):
        try:
            password = urlsplit(address).password or ""
        except ValueError:
            continue
        secrets += [password, unquote(password)]
    return secrets
