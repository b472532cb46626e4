"""The CA-pinned adapter: what ``requests`` needs to be told so that a pin is a pin.

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


# What every new response has. Two of them take requests longer than the rest, and nobody here asks for them.
_NEW = {name: value for name, value in vars(Response()).items() if name not in ("cookies", "encoding")}


class _FinalResponse(Response):
    """An answer that leads nowhere else. Its cookies and its encoding are found when somebody asks for them.

    For a redirect that it is told not to follow, ``Session.send`` still prepares the next request: it reads the whole
    body, however long, takes the address apart and looks into ``.netrc``.
    """

    def __init__(self, adapter: HTTPAdapter, request: Any, raw: HTTPResponse) -> None:
        self.__dict__.update(
            _NEW,
            status_code=raw.status,
            headers=HeaderDict(raw.headers.itermerged()),
            raw=raw,
            reason=raw.reason,
            url=request.url,
            history=[],
            request=request,
            connection=adapter,
        )

    def __getattr__(self, name: str) -> Any:  # for what is not there yet
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
        return False


class TrustAdapter(HTTPAdapter):
    """Connects to the origins it is mounted for with exactly the given trust, directly or through a CONNECT proxy.

    Its pool has no size and never blocks; it never retries (the road above does, with the call's deadline in view).
    It pickles as its trust and comes back with new connections and the same pin.
    """

    def __init__(
        self,
        trust: Trust,
        context: ssl.SSLContext | None = None,
        proxy_context: ssl.SSLContext | None = None,
        *,
        late: bool = False,
    ) -> None:
        self.trust = trust
        self._late = late
        self._context = context if context is not None else trust.make_context()
        # The pin is for the server behind the proxy; an HTTPS proxy itself shows a certificate of its own world.
        self._proxy_context = proxy_context
        self._pools: dict[str, Any] = {}  # by origin, for requests without a proxy
        super().__init__(pool_connections=8, pool_maxsize=0, max_retries=0, pool_block=False)

    def __reduce__(self) -> tuple[Callable[..., TrustAdapter], tuple[Any, ...]]:
        if self.trust.ssl_context is not None:
            raise ConfigError("an ssl_context cannot be pickled: pass ca_bundle_file, cert_file and key_file instead")
        return type(self), (self.trust,)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        self.poolmanager = PoolManager(
            num_pools=connections, maxsize=maxsize, block=block, ssl_context=self._context, **options
        )
        self.poolmanager.pool_classes_by_scheme = POOL_CLASSES

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
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
        """Close every connection, now: urllib3 leaves it to the garbage collector, and a pool may be part of a ring."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - it is no dict, and cannot be iterated
                pool = manager.pools.get(key)
                if pool is not None:
                    pool.close()
        super().close()

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the pool alone: the context says it all."""

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        if proxies:
            return super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
        # Looking one of a handful of pools up costs requests more than all else it does for a call.
        url: str = request.url
        origin = url[: url.find("/", len("https://"))]
        pool = self._pools.get(origin)
        if pool is None:
            pool = super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
            pool = self._pools.setdefault(origin, pool)
        return pool

    def request_url(self, request: Any, proxies: Any) -> str:
        if proxies:
            return super().request_url(request, proxies)
        path_url: str = request.path_url
        return path_url

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> tuple[Any, Any]:
        parts = urlsplit(request.url)
        return {"scheme": parts.scheme, "host": parts.hostname, "port": parts.port}, {}

    def build_response(self, req: Any, resp: Any) -> Response:
        if current_state() is None or not isinstance(resp, HTTPResponse):
            return super().build_response(req, resp)
        response = _FinalResponse(self, req, resp)
        if not self._late:
            # A session of the user's own may make a response of another class of it, which finds nothing later.
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
        if verify is False and self.trust.kind != "insecure":
            # On a shared context this would switch verification off for every other thread as well.
            raise ConfigError("verify=False is refused here: the certificate is pinned")
        return super().send(request, stream, timeout, verify, cert, proxies)

    def presented_certificate(self, url: str, proxy: str | None) -> bytes | None:
        """The certificate (DER) that ``url``'s server presents, believed or not; None when there is none to be had.

        A connection of its own, on which nothing is sent and which nobody else uses.
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
