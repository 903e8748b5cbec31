"""Compress files on the worker pool in a lane of its own, while the file system stays as quick as ever.

A lane caps how many workers one kind of work may hold and how many jobs of it may wait; a full lane refuses work
at once with PoolSaturated, so that a burst becomes an answer ("try later") and not a growing queue.
"""

import asyncio
import statistics
import sysconfig
import time
import zlib

from uvworks import PoolSaturated, fs, pool


async def main() -> None:
    pool.configure(lanes={"compress": {"limit": 2, "max_queue": 40}})
    folder = sysconfig.get_path("stdlib")
    sources = [entry.path for entry in await fs.readdir(folder, with_file_types=True) if entry.name.endswith(".py")]

    async def compress(path: str) -> tuple[int, int] | None:
        content = await fs.read_file(path)
        try:
            packed = await pool.submit(zlib.compress, content, 9, lane="compress", timeout=30)
        except PoolSaturated:
            return None
        return len(content), len(packed)

    jobs = asyncio.gather(*(compress(path) for path in sources))
    delays: list[float] = []
    while not jobs.done():
        start = time.perf_counter()
        await fs.stat(folder)
        delays.append(time.perf_counter() - start)
        await asyncio.sleep(0.002)
    results = [result for result in await jobs if result is not None]

    before, after = (sum(column) for column in zip(*results, strict=True))
    print(f"{len(results)} of {len(sources)} files compressed, {before} to {after} bytes; the others were refused")
    median, worst = statistics.median(delays) * 1000, max(delays) * 1000
    print(f"stat beside them: median {median:.2f} ms, worst {worst:.2f} ms")
    lane = pool.statistics().lanes["compress"]
    waited, ran = lane.wait.p50 * 1000, lane.run.p50 * 1000
    print(f"lane: {lane.done} done, {lane.rejected} rejected; median wait {waited:.1f} ms, run {ran:.1f} ms")


if __name__ == "__main__":
    asyncio.run(main())
