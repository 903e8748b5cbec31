"""redis-py against a real redis-server: commands, pipelines, publish and subscribe, blocking reads, large values."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis.asyncio as redis
from redis.exceptions import ResponseError


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[redis.Redis]:
    async with redis.Redis(host="127.0.0.1", port=port) as client:
        await client.flushdb()
        yield client


async def test_commands_and_errors(redis_port: int) -> None:
    async with connected(redis_port) as client:
        assert await client.ping()
        await client.set("key", "value")
        assert await client.get("key") == b"value"
        with pytest.raises(ResponseError):
            await client.incr("key")
        assert await client.delete("key") == 1


async def test_a_large_value(redis_port: int) -> None:
    data = os.urandom(8 << 20)
    async with connected(redis_port) as client:
        await client.set("large", data)
        assert await client.get("large") == data


async def test_a_pipeline_of_thousands(redis_port: int) -> None:
    async with connected(redis_port) as client, client.pipeline(transaction=False) as pipeline:
        for number in range(5000):
            pipeline.set(f"key {number}", number)
        await pipeline.execute()
        for number in range(5000):
            pipeline.get(f"key {number}")
        assert await pipeline.execute() == [str(number).encode() for number in range(5000)]


async def test_many_tasks_share_a_pool(redis_port: int) -> None:
    async with connected(redis_port) as client:
        await asyncio.gather(*(client.incr("counter") for _ in range(40)))
        assert await client.get("counter") == b"40"


async def test_publish_and_subscribe(redis_port: int) -> None:
    async with connected(redis_port) as client, client.pubsub() as channel:
        await channel.subscribe("news")
        assert (await channel.get_message(timeout=5))["type"] == "subscribe"
        for number in range(100):
            await client.publish("news", number)
        seen = [(await channel.get_message(timeout=5))["data"] for _ in range(100)]
        assert seen == [str(number).encode() for number in range(100)]


async def test_a_blocking_read_is_woken_or_cancelled(redis_port: int) -> None:
    async with connected(redis_port) as client:
        waiting = asyncio.create_task(client.blpop("queue"))
        await asyncio.sleep(0.05)
        await client.rpush("queue", "item")
        assert await waiting == [b"queue", b"item"] or waiting.result() == (b"queue", b"item")
        waiting = asyncio.create_task(client.blpop("queue"))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await client.ping()
