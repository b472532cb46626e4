"""The connection pools of an adapter of ``requests`` that uses a pinned CA, directly or through a proxy.

An ``ssl_context`` alone is not enough. With ``verify=True`` requests has urllib3 load certifi's roots *into* that
context, and ``REQUESTS_CA_BUNDLE`` replaces it; which of the two happens differs between versions. So the context is
the only source of trust here: nothing that requests derives from ``verify`` reaches the connection pool.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from requests.adapters import HTTPAdapter
from urllib3.poolmanager import PoolManager, ProxyManager

from gigaclient._primitives.secret import Secret
from gigaclient.errors import ConfigError
from gigaclient.transport.connection import POOL_CLASSES
from gigaclient.transport.proxies import is_socks
from gigaclient.transport.tls import Trust, insecure_context, system_context

__all__ = ["PinnedPools"]


class PinnedPools(HTTPAdapter):
    """Connects to the origins it is mounted for with exactly one trust, directly or through a proxy.

    Its pools are unlimited and never block. It never retries, because the executor retries within the call's deadline.
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

    def __reduce__(self) -> tuple[Callable[..., PinnedPools], tuple[Any, ...]]:
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

    def proxy_headers(self, proxy: str) -> dict[str, str]:
        """Return the headers for ``proxy``, as secrets: the user and the password are among them."""
        return {name: Secret(value) for name, value in super().proxy_headers(proxy).items()}

    def _new_proxy_manager(self, proxy: str, context: ssl.SSLContext, **options: Any) -> PoolManager:
        if is_socks(proxy):
            pools = PoolManager(ssl_context=context, **options)
            pools.pool_classes_by_scheme = _pool_classes_through(Secret(proxy))
            return pools
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
            if pool.proxy is not None:
                pool._prepare_proxy(connection)
            else:
                connection.connect()
            certificate: bytes | None = connection.sock.getpeercert(binary_form=True)
            return certificate
        finally:
            connection.close()

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> tuple[Any, Any]:
        """Return the key of a pool without any TLS options, so that ``verify`` and ``cert`` have no effect."""
        parts = urlsplit(request.url)
        return {"scheme": parts.scheme, "host": parts.hostname, "port": parts.port}, {}


def _pool_classes_through(proxy: Secret) -> dict[str, Any]:
    """Return the classes of pools whose connections go through a SOCKS proxy, by scheme."""
    classes: dict[str, Any] = {}
    pool: Any
    for scheme, pool in POOL_CLASSES.items():
        connection = pool._deadline_class
        connection = type(connection.__name__, (connection,), {"socks_proxy": proxy})
        classes[scheme] = type(pool.__name__, (pool,), {"_deadline_class": connection})
    return classes
