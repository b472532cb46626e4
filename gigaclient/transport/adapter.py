"""The adapter that makes ``requests`` use a pinned CA.

An ``ssl_context`` alone is not enough. With ``verify=True`` requests has urllib3 load certifi's roots *into* that
context, and ``REQUESTS_CA_BUNDLE`` replaces it; which of the two happens differs between versions. So the context is
the only source of trust here: nothing that requests derives from ``verify`` reaches the connection pool.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from requests import Response
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar, extract_cookies_to_jar
from requests.utils import get_encoding_from_headers
from urllib3 import HTTPResponse
from urllib3.poolmanager import PoolManager, ProxyManager

from gigaclient.errors import ConfigError
from gigaclient.transport.headers import HeaderDict
from gigaclient.transport.pool import POOL_CLASSES
from gigaclient.transport.socket import current_state
from gigaclient.transport.tls import Trust, insecure_context, system_context

__all__ = ["TrustAdapter"]


# The attributes of a new response, without two that are expensive and rarely needed.
_RESPONSE_DEFAULTS = {name: value for name, value in vars(Response()).items() if name not in ("cookies", "encoding")}


class _FinalResponse(Response):
    """A response that is never followed as a redirect, with cookies and encoding computed at the first use.

    Even with ``allow_redirects=False``, ``Session.send`` prepares the next request of a redirect: it reads the whole
    body, however long, parses the address and reads ``.netrc``.
    """

    def __init__(self, adapter: HTTPAdapter, request: Any, raw: HTTPResponse) -> None:
        self.__dict__.update(
            _RESPONSE_DEFAULTS,
            status_code=raw.status,
            headers=HeaderDict(raw.headers.itermerged()),
            raw=raw,
            reason=raw.reason,
            url=request.url,
            history=[],
            request=request,
            connection=adapter,
        )

    def __getattr__(self, name: str) -> Any:
        if name == "cookies":
            self.cookies = RequestsCookieJar()
            if "set-cookie" in self.headers:
                extract_cookies_to_jar(self.cookies, self.request, self.raw)
            return self.cookies
        if name == "encoding":
            self.encoding = get_encoding_from_headers(self.headers)
            return self.encoding
        raise AttributeError(name)

    @property
    def is_redirect(self) -> bool:
        """False, so that ``Session.send`` never follows or prepares a redirect."""
        return False


class TrustAdapter(HTTPAdapter):
    """Connects to the origins it is mounted for with exactly one trust, directly or through a CONNECT proxy.

    Its pool is unlimited and never blocks. It never retries, because the executor retries within the call's deadline.
    It pickles as its trust, and unpickles with new connections and the same pin.
    """

    def __init__(
        self,
        trust: Trust,
        context: ssl.SSLContext | None = None,
        proxy_context: ssl.SSLContext | None = None,
        *,
        lazy: bool = False,
    ) -> None:
        self.trust = trust
        self._lazy = lazy
        self._context = context if context is not None else trust.make_context()
        # The pin is for the server behind the proxy; the certificate of an HTTPS proxy has another issuer.
        self._proxy_context = proxy_context
        self._pools: dict[str, Any] = {}  # by origin, for requests without a proxy
        super().__init__(pool_connections=8, pool_maxsize=0, max_retries=0, pool_block=False)

    def __reduce__(self) -> tuple[Callable[..., TrustAdapter], tuple[Any, ...]]:
        if self.trust.ssl_context is not None:
            raise ConfigError("an ssl_context cannot be pickled: pass ca_bundle_file, cert_file and key_file instead")
        return type(self), (self.trust,)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        """Create the pool manager with our TLS context and pool classes."""
        self.poolmanager = PoolManager(
            num_pools=connections, maxsize=maxsize, block=block, ssl_context=self._context, **options
        )
        self.poolmanager.pool_classes_by_scheme = POOL_CLASSES

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Return the pool manager for ``proxy``, created at the first use."""
        manager = self.proxy_manager.get(proxy)
        if manager is None:
            manager = self._new_proxy_manager(proxy, self._context, num_pools=8, maxsize=0, block=False, **options)
            manager = self.proxy_manager.setdefault(proxy, manager)
        return manager

    def _new_proxy_manager(self, proxy: str, context: ssl.SSLContext, **options: Any) -> ProxyManager:
        if self._proxy_context is None and proxy.lower().startswith("https:"):
            self._proxy_context = system_context()
        manager = ProxyManager(
            proxy,
            proxy_headers=self.proxy_headers(proxy),
            ssl_context=context,
            proxy_ssl_context=self._proxy_context,
            **options,
        )
        manager.pool_classes_by_scheme = POOL_CLASSES
        return manager

    def close(self) -> None:
        """Close every connection at once; urllib3 leaves it to the garbage collector, which is late for cycles."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - not a dict, and not iterable
                pool = manager.pools.get(key)
                if pool is not None:
                    pool.close()
        super().close()

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Do nothing: the TLS context alone defines the trust."""

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        """Return the connection pool for a request, cached by origin when there is no proxy."""
        if proxies:
            return super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
        # In requests, looking the pool up costs more than the rest of a call.
        url: str = request.url
        origin = url[: url.find("/", len("https://"))]
        pool = self._pools.get(origin)
        if pool is None:
            pool = super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
            pool = self._pools.setdefault(origin, pool)
        return pool

    def request_url(self, request: Any, proxies: Any) -> str:
        """Return the request target; without a proxy it is the path."""
        if proxies:
            return super().request_url(request, proxies)
        path_url: str = request.path_url
        return path_url

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> tuple[Any, Any]:
        """Return the key of a pool without any TLS options, so that ``verify`` and ``cert`` have no effect."""
        parts = urlsplit(request.url)
        return {"scheme": parts.scheme, "host": parts.hostname, "port": parts.port}, {}

    def build_response(self, req: Any, resp: Any) -> Response:
        """Build the response object; a cheaper one when our transport sends the request."""
        if current_state() is None or not isinstance(resp, HTTPResponse):
            return super().build_response(req, resp)
        response = _FinalResponse(self, req, resp)
        if not self._lazy:
            # A user's session may convert it to another class, which does not compute attributes lazily.
            for name in ("cookies", "encoding"):
                getattr(response, name)
        return response

    def send(
        self,
        request: Any,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> Any:
        """Send a request; refuse ``verify=False`` when certificates are checked."""
        if verify is False and self.trust.mode != "insecure":
            # On a shared context this would switch verification off for every other thread as well.
            raise ConfigError("verify=False is refused here: the certificate is pinned")
        return super().send(request, stream, timeout, verify, cert, proxies)

    def presented_certificate(self, url: str, proxy: str | None) -> bytes | None:
        """Return the certificate (DER) of ``url``'s server, even an untrusted one; None when there is none.

        It opens a separate connection, sends no request on it, and closes it.
        """
        context = insecure_context()
        parts = urlsplit(url)
        if proxy is None:
            manager = PoolManager(ssl_context=context)
            manager.pool_classes_by_scheme = POOL_CLASSES
        else:
            manager = self._new_proxy_manager(proxy, context)
        pool = manager.connection_from_host(parts.hostname, parts.port, parts.scheme)
        connection: Any = pool._new_conn()
        try:
            if proxy is not None:
                pool._prepare_proxy(connection)
            else:
                connection.connect()
            certificate: bytes | None = connection.sock.getpeercert(binary_form=True)
            return certificate
        finally:
            connection.close()
