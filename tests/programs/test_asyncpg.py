"""asyncpg against a real PostgreSQL: queries, transactions, cursors, COPY both ways, listeners, cancels, pools."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from tests.support import until


@asynccontextmanager
async def connected(postgres: dict[str, Any], way: str = "tcp") -> AsyncIterator[asyncpg.Connection]:
    where = dict(postgres)
    directory = where.pop("socket_directory")
    if way == "unix":
        where["host"] = directory
    connection = await asyncpg.connect(**where, timeout=20, ssl=False)
    try:
        yield connection
    finally:
        await connection.close(timeout=20)


@pytest.mark.parametrize("way", ["tcp", "unix"])
async def test_queries_and_errors(postgres: dict[str, Any], way: str) -> None:
    async with connected(postgres, way) as connection:
        assert await connection.fetchval("select $1::int + 1", 41) == 42
        with pytest.raises(asyncpg.UndefinedTableError):
            await connection.fetch("select * from nowhere")
        rows = await connection.fetch("select n, repeat('x', n) as text from generate_series(1, 2000) n")
        assert [len(row["text"]) for row in rows] == list(range(1, 2001))


async def test_transactions_and_cursors(postgres: dict[str, Any]) -> None:
    async with connected(postgres) as connection:
        await connection.execute("create temp table numbers (n int)")
        with pytest.raises(ZeroDivisionError):
            async with connection.transaction():
                await connection.execute("insert into numbers values (1)")
                raise ZeroDivisionError
        assert await connection.fetchval("select count(*) from numbers") == 0
        async with connection.transaction():
            seen = [row[0] async for row in connection.cursor("select generate_series(1, 500)", prefetch=7)]
        assert seen == list(range(1, 501))


async def test_copy_both_ways(postgres: dict[str, Any]) -> None:
    rows = [(number, "text " * (number % 50)) for number in range(20_000)]
    async with connected(postgres) as connection:
        await connection.execute("create temp table copied (n int, t text)")
        await connection.copy_records_to_table("copied", records=rows)
        output = io.BytesIO()
        await connection.copy_from_query("select n, t from copied order by n", output=output, format="csv")
        assert output.getvalue().decode() == "".join(f"{n},{t or chr(34) * 2}\n" for n, t in rows)


async def test_a_large_value(postgres: dict[str, Any]) -> None:
    data = bytes(range(256)) * (8 << 12)
    async with connected(postgres) as connection:
        assert await connection.fetchval("select $1::bytea", data) == data


async def test_a_listener_is_told(postgres: dict[str, Any]) -> None:
    heard: list[str] = []

    def hear(connection: object, pid: int, channel: str, payload: object) -> None:
        heard.append(str(payload))

    async with connected(postgres) as one, connected(postgres) as other:
        await one.add_listener("news", hear)
        for number in range(20):
            await other.execute(f"notify news, '{number}'")
        await until(lambda: len(heard) == 20)
        await one.remove_listener("news", hear)
    assert heard == [str(number) for number in range(20)]


async def test_a_query_is_cancelled_and_the_connection_lives(postgres: dict[str, Any]) -> None:
    async with connected(postgres) as connection:
        with pytest.raises(asyncio.TimeoutError):
            await connection.fetchval("select pg_sleep(30)", timeout=0.1)
        task = asyncio.create_task(connection.fetchval("select pg_sleep(30)"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await connection.fetchval("select 1") == 1


async def test_a_pool_serves_more_tasks_than_connections(postgres: dict[str, Any]) -> None:
    where = {name: value for name, value in postgres.items() if name != "socket_directory"}
    async with asyncpg.create_pool(**where, min_size=2, max_size=5, ssl=False) as pool:
        answers = await asyncio.gather(*(pool.fetchval("select $1::int", number) for number in range(200)))
        assert answers == list(range(200))
