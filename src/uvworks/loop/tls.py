"""TLS for the loop: the only module that knows which TLS engine there is.

Today it is the standard library's asyncio.sslproto over `ssl` objects. Everything else asks `layer`,
`server_factory` and `start_tls`, and never looks at what they return, so that another engine can take its place here.
"""

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from typing import Any

from .._engine import core

__all__ = ["Factory", "StartTLS", "check_options", "layer", "refuse_tls_socket", "server_factory"]

Factory = Callable[[], asyncio.BaseProtocol]


def refuse_tls_socket(sock: Any) -> None:
    """An SSLSocket does its own input and output, which no event loop can share."""
    if isinstance(sock, ssl.SSLSocket):
        raise TypeError("Socket cannot be of type SSLSocket")


def check_options(
    context: Any, handshake_timeout: float | None, shutdown_timeout: float | None, *, default_context: bool = True
) -> None:
    """Refuse time-outs without TLS, and contexts and time-outs that only the first connection would refuse.

    `default_context` tells whether ssl=True stands for a context, as it does for clients.
    """
    if not default_context and isinstance(context, bool):
        raise TypeError("ssl argument must be an SSLContext or None")
    if context and not isinstance(context, bool) and not hasattr(context, "wrap_bio"):
        raise TypeError(f"ssl argument must be an SSLContext or None, not {context!r}")
    for name, timeout in (
        ("ssl_handshake_timeout", handshake_timeout),
        ("ssl_shutdown_timeout", shutdown_timeout),
    ):
        if timeout is None:
            continue
        if not context:
            raise ValueError(f"{name} is only meaningful with ssl")
        if timeout <= 0:
            raise ValueError(f"{name} should be a positive number, got {timeout}")


def layer(
    loop: asyncio.AbstractEventLoop,
    protocol: asyncio.BaseProtocol,
    context: ssl.SSLContext | bool,
    waiter: asyncio.Future[None],
    *,
    server_side: bool,
    server_hostname: str | None = None,
    handshake_timeout: float | None = None,
    shutdown_timeout: float | None = None,
    call_connection_made: bool = True,
) -> tuple[asyncio.BaseProtocol, asyncio.Transport]:
    """What to put on the raw transport, and the transport that `protocol` will be given.

    `waiter` tells when the handshake has succeeded or failed. Then `protocol` hears connection_made(), unless
    `call_connection_made` says that it has long been connected.
    """
    # The stub says int for time-outs, and knows of no default context.
    engine: Any = SSLProtocol
    below = engine(
        loop,
        protocol,
        None if isinstance(context, bool) else context,
        waiter,
        server_side,
        server_hostname,
        call_connection_made=call_connection_made,
        ssl_handshake_timeout=handshake_timeout,
        ssl_shutdown_timeout=shutdown_timeout,
    )
    return below, below._app_transport


def server_factory(
    loop: asyncio.AbstractEventLoop,
    factory: Factory,
    context: ssl.SSLContext | bool,
    handshake_timeout: float | None,
    shutdown_timeout: float | None,
) -> Factory:
    """A factory that makes the server's side of TLS around each of the user's protocols."""

    def make() -> asyncio.BaseProtocol:
        protocol = factory()
        waiter = loop.create_future()
        below, transport = layer(
            loop,
            protocol,
            context,
            waiter,
            server_side=True,
            handshake_timeout=handshake_timeout,
            shutdown_timeout=shutdown_timeout,
        )

        def handshake_done(waiter: asyncio.Future[None]) -> None:
            if waiter.cancelled() or (exception := waiter.exception()) is None:
                return
            transport.close()
            if loop.get_debug():  # as asyncio: a stranger that speaks no TLS is no news
                loop.call_exception_handler(
                    {
                        "message": "Error on transport creation for incoming connection",
                        "exception": exception,
                        "protocol": protocol,
                        "transport": transport,
                    }
                )

        waiter.add_done_callback(handshake_done)
        return below

    return make


class StartTLS(core.BaseLoop, asyncio.AbstractEventLoop):
    """The upgrade of a connection that is already there."""

    async def start_tls(
        self,
        transport: asyncio.WriteTransport,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport:
        """Upgrade a connection to TLS; returns the transport that `protocol` must use from now on."""
        if not isinstance(sslcontext, ssl.SSLContext):
            raise TypeError(f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}")
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        raw: Any = transport
        waiter = self.create_future()
        below, secure = layer(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side=server_side,
            server_hostname=server_hostname,
            handshake_timeout=ssl_handshake_timeout,
            shutdown_timeout=ssl_shutdown_timeout,
            call_connection_made=False,
        )
        # Nothing may arrive before connection_made() has started the handshake.
        raw.pause_reading()
        raw.set_protocol(below)
        made = self.call_soon(below.connection_made, raw)
        resumed = self.call_soon(raw.resume_reading)
        try:
            await waiter
        except BaseException:
            raw.close()
            made.cancel()
            resumed.cancel()
            raise
        finally:
            del waiter  # its exception holds this frame
        return secure
