"""grpc.aio: unary calls, streams both ways, deadlines, cancels. Each loop runs in a process of its own, because gRPC's
core keeps threads and descriptors for as long as the process lives."""

import pytest

from tests.loops import LOOPS
from tests.support import python

SCRIPT = """
import asyncio, sys
import grpc

async def unary(request, context):
    if request == b"fail":
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "told to")
    if request == b"slow":
        await asyncio.sleep(30)
    return request[::-1]

async def stream(requests, context):
    async for request in requests:
        yield request * 2

class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/test/Unary":
            return grpc.unary_unary_rpc_method_handler(unary)
        return grpc.stream_stream_rpc_method_handler(stream)

async def numbers(count):
    for number in range(count):
        yield str(number).encode()

async def main():
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/test/Unary")
        answers = await asyncio.gather(*(call(str(n).encode()) for n in range(200)))
        assert answers == [str(n).encode()[::-1] for n in range(200)]
        large = bytes(range(256)) * 8000
        assert await call(large) == large[::-1]
        for request, timeout, code in (
            (b"fail", 10, grpc.StatusCode.INVALID_ARGUMENT),
            (b"slow", 0.2, grpc.StatusCode.DEADLINE_EXCEEDED),
        ):
            try:
                await call(request, timeout=timeout)
            except grpc.aio.AioRpcError as error:
                assert error.code() == code, error
            else:
                raise AssertionError("no error")
        task = asyncio.ensure_future(call(b"slow"))
        await asyncio.sleep(0.1)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        seen = [answer async for answer in channel.stream_stream("/test/Stream")(numbers(500))]
        assert seen == [str(n).encode() * 2 for n in range(500)]
    await server.stop(None)

def factory():
    if sys.argv[1] == "asyncio":
        return asyncio.SelectorEventLoop()
    return __import__(sys.argv[1]).new_event_loop()

with asyncio.Runner(loop_factory=factory) as runner:
    runner.run(main())
print("passed")
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_calls_and_streams(loop: str) -> None:
    # gRPC's own start is none of our warnings.
    done = python(SCRIPT, loop, warnings="default", timeout=60, env={"GRPC_ENABLE_FORK_SUPPORT": "0"})
    assert done.stdout.endswith("passed\n"), done.stdout + done.stderr
