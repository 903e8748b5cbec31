"""Cryptography on an asyncio loop: `python -m benchmarks.peers.crypto_peer uvworks|executor LOOP`.

The executor is a ThreadPoolExecutor of four with what the standard library and `cryptography` offer. All of them end
in OpenSSL's libcrypto.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.harness.scenario import POOL_SIZE
from benchmarks.peers import loops
from benchmarks.peers.protocol import say, serve

DATA = bytes([7]) * 1024
ITERATIONS = 20_000
JOB_SECONDS = 0.02
Calls = dict[str, Callable[[], Awaitable[Any]]]


async def uvworks_calls() -> Calls:
    """Each call gives something that is true."""
    from uvworks import crypto

    pairs: dict[str, Any] = {
        "ed25519": await crypto.generate_key_pair("ed25519"),
        "ec": await crypto.generate_key_pair("ec", named_curve="P-256"),
        "rsa": await crypto.generate_key_pair("rsa", modulus_length=2048),
    }
    calls: Calls = {
        "pbkdf2": lambda: crypto.pbkdf2(b"password", b"salt", ITERATIONS, 32, "sha256"),
        "scrypt": lambda: crypto.scrypt(b"password", b"salt", 32),
        "pair ed25519": lambda: crypto.generate_key_pair("ed25519"),
        "pair ed25519 pem": lambda: crypto.generate_key_pair(
            "ed25519",
            public_key_encoding={"type": "spki", "format": "pem"},
            private_key_encoding={"type": "pkcs8", "format": "pem"},
        ),
        "random 64 B": lambda: crypto.random_bytes(64),
    }
    for kind, pair in pairs.items():
        digest = None if kind == "ed25519" else "sha256"
        signature = await crypto.sign(digest, DATA, pair.private_key)
        calls[f"sign {kind}"] = lambda d=digest, p=pair: crypto.sign(d, DATA, p.private_key)  # type: ignore[misc]
        calls[f"verify {kind}"] = lambda d=digest, p=pair, s=signature: crypto.verify(d, DATA, p.public_key, s)  # type: ignore[misc]
    return calls


async def executor_calls() -> Calls:
    """Each call gives something that is true."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

    pool = ThreadPoolExecutor(POOL_SIZE)
    loop = asyncio.get_running_loop()
    pem = serialization.Encoding.PEM

    def pbkdf2() -> bytes:
        return hashlib.pbkdf2_hmac("sha256", b"password", b"salt", ITERATIONS)

    def scrypt() -> bytes:
        return hashlib.scrypt(b"password", salt=b"salt", n=16384, r=8, p=1, dklen=32)

    def pair_pem() -> Any:
        key = ed25519.Ed25519PrivateKey.generate()
        secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return secret, key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)

    ed, curve, big = (
        ed25519.Ed25519PrivateKey.generate(),
        ec.generate_private_key(ec.SECP256R1()),
        rsa.generate_private_key(65537, 2048),
    )
    sha = hashes.SHA256()
    more: dict[str, tuple[Any, Any, tuple[Any, ...]]] = {
        "ed25519": (ed, ed.public_key(), ()),
        "ec": (curve, curve.public_key(), (ec.ECDSA(sha),)),
        "rsa": (big, big.public_key(), (padding.PKCS1v15(), sha)),
    }
    work: dict[str, Callable[[], Any]] = {
        "pbkdf2": pbkdf2,
        "scrypt": scrypt,
        "pair ed25519": ed25519.Ed25519PrivateKey.generate,
        "pair ed25519 pem": pair_pem,
        "random 64 B": lambda: os.urandom(64),
    }
    for kind, (private, public, options) in more.items():
        signature = private.sign(DATA, *options)
        work[f"sign {kind}"] = lambda k=private, o=options: k.sign(DATA, *o)  # type: ignore[misc]
        work[f"verify {kind}"] = lambda k=public, o=options, s=signature: not k.verify(s, DATA, *o)  # type: ignore[misc]
    return {name: lambda f=function: loop.run_in_executor(pool, f) for name, function in work.items()}  # type: ignore[misc]


async def rate(calls: Calls, request: dict[str, Any]) -> dict[str, Any]:
    """`operations` calls with `in_flight` of them at any time."""
    call = calls[request["operation"]]
    left = operations = request["operations"]
    done = 0

    async def work() -> None:
        nonlocal left, done
        while left > 0:
            left -= 1
            if not await call():
                raise ValueError("a wrong answer")
            done += 1

    begin = time.perf_counter()
    await asyncio.gather(*[work() for _ in range(request["in_flight"])])
    return {"seconds": time.perf_counter() - begin, "operations": operations, "total": done}


# What jobs owe to each other and to the loop ------------------------------------


def iterations() -> int:
    """How many iterations take JOB_SECONDS here."""
    taken = []
    for _ in range(5):
        begin = time.perf_counter()
        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", ITERATIONS)
        taken.append(time.perf_counter() - begin)
    return int(ITERATIONS * JOB_SECONDS / min(taken))


class Jobs:
    """One pbkdf2, and what tells from outside of the loop how many have ended; `alone` leaves it one worker."""

    def __init__(self, api: str) -> None:
        self._uvworks = api == "uvworks"
        self._count = iterations()
        self._pools = {False: ThreadPoolExecutor(POOL_SIZE), True: ThreadPoolExecutor(1)}
        self._futures: list[Any] = []

    def submit(self, alone: bool = False) -> asyncio.Future[Any]:
        if self._uvworks:
            from uvworks import crypto

            return asyncio.ensure_future(crypto.pbkdf2(b"password", b"salt", self._count, 32, "sha256"))
        future = self._pools[alone].submit(hashlib.pbkdf2_hmac, "sha256", b"password", b"salt", self._count)
        self._futures.append(future)
        return asyncio.wrap_future(future)

    def limit(self, workers: int | None) -> None:
        if self._uvworks:
            from uvworks import pool

            pool.configure(lanes={"cpu": {"limit": workers or 2}})

    def ended(self) -> int:
        if self._uvworks:
            from uvworks import pool

            return pool.statistics().lanes["cpu"].done
        return sum(future.done() for future in self._futures)


async def pool_metrics(jobs: Jobs, seconds: float) -> dict[str, float]:
    """See benchmarks/crypto_pool.py."""

    async def together(count: int) -> float:
        begin = time.perf_counter()
        await asyncio.gather(*(jobs.submit() for _ in range(count)))
        return time.perf_counter() - begin

    async def beside(pause: Callable[[], None]) -> float:
        before = jobs.ended()
        tasks = [jobs.submit(alone=True) for _ in range(4)]
        await asyncio.sleep(0)
        begin = time.perf_counter()
        while jobs.ended() < before + 4:
            pause()
        taken = time.perf_counter() - begin
        await asyncio.gather(*tasks)
        return taken

    def compute() -> None:
        sum(range(20_000))

    one = [await together(1) for _ in range(8)]
    two = [await together(2) for _ in range(8)]
    jobs.limit(1)
    quiet = [await beside(lambda: time.sleep(0.0005)) for _ in range(5)]
    busy = [await beside(compute) for _ in range(5)]
    jobs.limit(None)

    stop = False

    async def fill() -> None:
        while not stop:
            await jobs.submit()

    fillers = [asyncio.create_task(fill()) for _ in range(64)]
    await asyncio.sleep(5 * JOB_SECONDS)
    late = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        await asyncio.sleep(0.001)
        late.append((time.perf_counter() - begin - 0.001) * 1e3)
    stop = True
    await asyncio.gather(*fillers)
    late.sort()
    median = {name: sorted(values)[len(values) // 2] for name, values in (("one", one), ("two", two))}
    return {
        "two/one": median["two"] / median["one"],
        "busy/quiet": sorted(busy)[2] / sorted(quiet)[2],
        "delay p50 ms": late[len(late) // 2],
        "delay p99 ms": late[math.ceil(0.99 * len(late)) - 1],
        "delay max ms": late[-1],
    }


def main() -> None:
    """Greets with the versions, then serves."""
    api, loop_name = sys.argv[1:]
    try:
        loop, versions = loops.new(loop_name)
        if api == "uvworks":
            import uvworks

            versions |= {"uvworks": uvworks.__version__, "openssl": uvworks.crypto.openssl_version}
        else:
            from cryptography.hazmat.backends.openssl import backend

            versions["openssl"] = backend.openssl_version_text()
    except ImportError as error:
        say({"missing": f"{error}"})
        return
    calls = loop.run_until_complete(uvworks_calls() if api == "uvworks" else executor_calls())
    jobs = Jobs(api)

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if request["operation"] == "pool":
            return loop.run_until_complete(pool_metrics(jobs, request["seconds"]))
        return loop.run_until_complete(rate(calls, request))

    say(versions)
    serve(answer)
    loop.close()


if __name__ == "__main__":
    main()
