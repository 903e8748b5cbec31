"""Every public coroutine function of the modules over the pool, with arguments that make it a real job, and what drives
them in a process of its own. test_door.py says what has to come of it.

The arguments are above the sizes that are answered at once. A case is never left hanging: faulthandler ends the process
with a traceback, and the last line of the output then names it.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import functools
import importlib
import inspect
import os
import pkgutil
import random
import sys
import tempfile
import zlib as std
from collections.abc import AsyncIterable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import uvworks
from tests.loops import LOOPS
from uvworks import crypto, dns, fs, pool, zlib
from uvworks.dns import _resolve

PATIENCE = 10  # seconds that a case may take: they take milliseconds
NOISE = random.Random(0).randbytes(9000)  # which cannot be compressed: its compressed forms are jobs, too
NOBODY = "127.0.0.1:1"  # a DNS server that is not there

# What there is ------------------------------------------------------------------

# A loop's own coroutine methods run on the loop itself.
MODULES = [
    importlib.import_module(f"uvworks.{module.name}")
    for module in pkgutil.iter_modules(uvworks.__path__)
    if not module.name.startswith("_") and module.name != "loop"
]


def is_coroutine_function(value: object) -> bool:
    return inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value)


def found() -> set[str]:
    """Names such as "fs.stat" and "zlib.Stream.write"."""
    names = set()
    for module in MODULES:
        short = module.__name__.rpartition(".")[2]
        public = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
        for name in public:
            value = getattr(module, name)
            if is_coroutine_function(value):
                names.add(f"{short}.{name}")
            elif inspect.isclass(value):
                names |= {
                    f"{short}.{name}.{method}"
                    for method in dir(value)
                    if (not method.startswith("_") or method.startswith("__a"))
                    and is_coroutine_function(inspect.getattr_static(value, method))
                }
    return names


# What they are given ------------------------------------------------------------


class Place:
    """Files for one call, which may change them as it likes."""

    def __init__(self, root: Path) -> None:
        self.file, self.link, self.empty, self.tree = root / "file", root / "link", root / "empty", root / "tree"
        self.packed, self.new = root / "file.gz", root / "new"
        self.file.write_bytes(NOISE)
        self.link.symlink_to(self.file)
        self.empty.mkdir()
        (self.tree / "below").mkdir(parents=True)
        self.packed.write_bytes(std.compress(NOISE, wbits=31))


@contextlib.contextmanager
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="uvworks-") as root:
        yield Place(Path(root))


@functools.cache
def key_pair() -> Any:
    return asyncio.run(crypto.generate_key_pair("ed25519"))


@functools.cache
def made(name: str) -> Any:
    """What other functions need as their input."""
    public, private = key_pair()
    return asyncio.run(
        {
            "private": lambda: private.export(),
            "public": lambda: public.export(),
            "signature": lambda: crypto.sign(None, NOISE, private),
            "brotli": lambda: zlib.brotli_compress(NOISE),
            "zstd": lambda: zlib.zstd_compress(NOISE),
        }[name]()
    )


def prepare() -> None:
    """Before anything else: what is made once is made with the pool."""
    for name in ("private", "public", "signature", "brotli", "zstd"):
        made(name)
    dns.Resolver([NOBODY]).close()  # with the first one, pycares starts a thread


async def pieces(stream: AsyncIterable[bytes]) -> list[bytes]:
    return [piece async for piece in stream]


async def asked(method: str, name: str) -> object:
    with dns.Resolver([NOBODY], timeout=0.2, tries=1) as resolver:
        return await getattr(resolver, method)(name)


async def asked_by_default(method: str, name: str) -> object:
    before = _resolve._default
    with dns.Resolver([NOBODY], timeout=0.2, tries=1) as _resolve._default:
        try:
            return await getattr(dns, method)(name)
        finally:
            _resolve._default = before


Call = Callable[[Place], Coroutine[Any, Any, object]]

# The lane of each one's job, and a call. What follows the name, behind a blank, tells several calls apart.
JOBS: dict[str, tuple[str, Call]] = {
    "crypto.PrivateKey.export": ("cpu", lambda p: key_pair().private_key.export()),
    "crypto.PublicKey.export": ("cpu", lambda p: key_pair().public_key.export()),
    "crypto.check_prime": ("cpu", lambda p: crypto.check_prime(2**61 - 1)),
    "crypto.create_private_key": ("cpu", lambda p: crypto.create_private_key(made("private"))),
    "crypto.create_public_key": ("cpu", lambda p: crypto.create_public_key(made("public"))),
    "crypto.generate_key": ("cpu", lambda p: crypto.generate_key("hmac", 65536)),
    "crypto.generate_key_pair": ("cpu", lambda p: crypto.generate_key_pair("ed25519")),
    "crypto.generate_prime": ("cpu", lambda p: crypto.generate_prime(64)),
    "crypto.hash": ("cpu", lambda p: crypto.hash(NOISE, "sha256")),
    "crypto.hash of a file": ("cpu", lambda p: crypto.hash(p.file, "sha256")),
    "crypto.hkdf": ("cpu", lambda p: crypto.hkdf("sha256", b"key", b"salt", b"info", 32)),
    "crypto.pbkdf2": ("cpu", lambda p: crypto.pbkdf2(b"password", b"salt", 1000, 32, "sha256")),
    "crypto.random_bytes": ("cpu", lambda p: crypto.random_bytes(8192)),
    "crypto.random_fill": ("cpu", lambda p: crypto.random_fill(bytearray(8192))),
    "crypto.random_int": ("cpu", lambda p: crypto.random_int(1 << 65536)),
    "crypto.scrypt": ("cpu", lambda p: crypto.scrypt(b"password", b"salt", 32, n=16)),
    "crypto.sign": ("cpu", lambda p: crypto.sign(None, NOISE, key_pair().private_key)),
    "crypto.verify": ("cpu", lambda p: crypto.verify(None, NOISE, key_pair().public_key, made("signature"))),
    "dns.getaddrinfo": ("dns", lambda p: dns.getaddrinfo("localhost", 80)),
    "dns.getnameinfo": ("dns", lambda p: dns.getnameinfo(("127.0.0.1", 80))),
    "dns.lookup": ("dns", lambda p: dns.lookup("localhost")),
    "dns.lookup_service": ("dns", lambda p: dns.lookup_service("127.0.0.1", 80)),
    "fs.access": ("io", lambda p: fs.access(p.file)),
    "fs.append_file": ("io", lambda p: fs.append_file(p.file, NOISE)),
    "fs.chmod": ("io", lambda p: fs.chmod(p.file, 0o600)),
    "fs.copy_file": ("io", lambda p: fs.copy_file(p.file, p.new)),
    "fs.exists": ("io", lambda p: fs.exists(p.file)),
    "fs.link": ("io", lambda p: fs.link(p.file, p.new)),
    "fs.lstat": ("io", lambda p: fs.lstat(p.file)),
    "fs.mkdir": ("io", lambda p: fs.mkdir(p.new)),
    "fs.mkdtemp": ("io", lambda p: fs.mkdtemp(p.new)),
    "fs.read_file": ("io", lambda p: fs.read_file(p.file)),
    "fs.readdir": ("io", lambda p: fs.readdir(p.tree)),
    "fs.readlink": ("io", lambda p: fs.readlink(p.link)),
    "fs.realpath": ("io", lambda p: fs.realpath(p.link)),
    "fs.rename": ("io", lambda p: fs.rename(p.file, p.new)),
    "fs.rm": ("io", lambda p: fs.rm(p.tree, recursive=True)),
    "fs.rmdir": ("io", lambda p: fs.rmdir(p.empty)),
    "fs.stat": ("io", lambda p: fs.stat(p.file)),
    "fs.symlink": ("io", lambda p: fs.symlink(p.file, p.new)),
    "fs.truncate": ("io", lambda p: fs.truncate(p.file)),
    "fs.unlink": ("io", lambda p: fs.unlink(p.file)),
    "fs.utimes": ("io", lambda p: fs.utimes(p.file)),
    "fs.write_file": ("io", lambda p: fs.write_file(p.new, NOISE)),
    "fs.write_file atomic": ("io", lambda p: fs.write_file(p.new, NOISE, atomic=True)),
    "pool.submit": ("python", lambda p: pool.submit(int)),
    "pool.submit to cpu": ("cpu", lambda p: pool.submit(int, lane="cpu")),
    "pool.submit to io": ("io", lambda p: pool.submit(int, lane="io")),
    "zlib.Stream.__aiter__": ("cpu", lambda p: pieces(zlib.create_gzip([NOISE]))),
    "zlib.Stream.finish": ("cpu", lambda p: zlib.create_gzip().finish()),
    "zlib.Stream.flush": ("cpu", lambda p: zlib.create_gzip().flush()),
    "zlib.Stream.params": ("cpu", lambda p: zlib.create_gzip().params(1, 0)),
    "zlib.Stream.reset": ("cpu", lambda p: zlib.create_gzip().reset()),
    "zlib.Stream.write": ("cpu", lambda p: zlib.create_gzip().write(NOISE)),
    "zlib.brotli_compress": ("cpu", lambda p: zlib.brotli_compress(NOISE)),
    "zlib.brotli_decompress": ("cpu", lambda p: zlib.brotli_decompress(made("brotli"))),
    "zlib.deflate": ("cpu", lambda p: zlib.deflate(NOISE)),
    "zlib.deflate_raw": ("cpu", lambda p: zlib.deflate_raw(NOISE)),
    "zlib.gunzip": ("cpu", lambda p: zlib.gunzip(std.compress(NOISE, wbits=31))),
    "zlib.gunzip_file": ("cpu", lambda p: zlib.gunzip_file(p.packed, p.new)),
    "zlib.gzip": ("cpu", lambda p: zlib.gzip(NOISE)),
    "zlib.gzip_file": ("cpu", lambda p: zlib.gzip_file(p.file, p.new)),
    "zlib.inflate": ("cpu", lambda p: zlib.inflate(std.compress(NOISE))),
    "zlib.inflate_raw": ("cpu", lambda p: zlib.inflate_raw(std.compress(NOISE, wbits=-15))),
    "zlib.unzip": ("cpu", lambda p: zlib.unzip(std.compress(NOISE))),
    "zlib.zstd_compress": ("cpu", lambda p: zlib.zstd_compress(NOISE)),
    "zlib.zstd_decompress": ("cpu", lambda p: zlib.zstd_decompress(made("zstd"))),
}

# These wait for c-ares, which has a thread of its own, and need a loop but no worker.
NO_JOBS: dict[str, Call] = {
    "dns.Resolver.resolve": lambda p: asked("resolve", "localhost"),
    "dns.Resolver.reverse": lambda p: asked("reverse", "127.0.0.1"),
    "dns.resolve": lambda p: asked_by_default("resolve", "localhost"),
    "dns.reverse": lambda p: asked_by_default("reverse", "127.0.0.1"),
}

# These are answered at once, without a loop.
AT_ONCE: dict[str, Call] = {
    "crypto.generate_key": lambda p: crypto.generate_key("aes", 256),
    "crypto.hash": lambda p: crypto.hash(b"small", "sha256"),
    "crypto.random_bytes": lambda p: crypto.random_bytes(16),
    "crypto.random_fill": lambda p: crypto.random_fill(bytearray(16)),
    "crypto.random_int": lambda p: crypto.random_int(6),
    "dns.getaddrinfo": lambda p: dns.getaddrinfo("127.0.0.1", 80),
    "dns.getnameinfo": lambda p: dns.getnameinfo(("127.0.0.1", 80), 3),  # both in numbers
    "dns.lookup": lambda p: dns.lookup("127.0.0.1"),
    "zlib.Stream.__aenter__": lambda p: zlib.create_gzip().__aenter__(),
    "zlib.Stream.__aexit__": lambda p: zlib.create_gzip().__aexit__(),
}


# What drives them ---------------------------------------------------------------


def first_step(call: Call) -> str:
    """What comes of a coroutine's first step, in one line."""
    with place() as here:
        coroutine = call(here)
        try:
            coroutine.send(None)
        except StopIteration:
            return "answers"
        except BaseException as error:
            return f"{type(error).__name__}: {error}"
        finally:
            coroutine.close()
    return "waits"


def outcome(run: Callable[[], object]) -> str:
    try:
        run()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "answers"


def report(case: str, run: Callable[[], str]) -> None:
    print(case, end="\t", flush=True)
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    print(run(), flush=True)
    faulthandler.cancel_dump_traceback_later()


def inside(size: int, loop: str, done: int) -> None:
    """Each, from a callable on its own lane, on lane python and on lane io; without the first `done` cases."""
    pool.configure(size=size)
    prepare()
    cases = [(name, lane) for name, (own, _) in JOBS.items() for lane in sorted({own, "python", "io"})]
    cases += [(name, "python") for name in NO_JOBS]
    calls = {**{name: call for name, (_, call) in JOBS.items()}, **NO_JOBS}

    def run(call: Call, lane: str) -> None:
        with place() as here:

            def work() -> None:
                with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
                    runner.run(call(here))

            asyncio.run(pool.submit(work, lane=lane))

    for name, lane in cases[done:]:
        report(f"{name} from {lane}", functools.partial(outcome, functools.partial(run, calls[name], lane)))


def forked(loop: str) -> None:
    """Each in a forked child: with what the parent's loop left there, and with that loop set as the running one."""

    async def main() -> None:
        await fs.stat("/")
        child = os.fork()
        if child:
            assert os.waitpid(child, 0)[1] == 0
            return
        try:
            for name, (_, call) in JOBS.items():
                report(name, functools.partial(first_step, call))
            asyncio._set_running_loop(parents)
            for name, (_, call) in JOBS.items():
                report(f"{name} on the loop", functools.partial(first_step, call))
            os._exit(0)
        finally:
            sys.stdout.flush()
            os._exit(1)

    prepare()
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        parents = runner.get_loop()
        runner.run(main())


def at_exit(loop: str) -> None:
    """Each after the pool has ended; to be registered before uvworks is imported."""

    def run(call: Call) -> None:
        with place() as here, asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(call(here))

    for name, (_, call) in JOBS.items():
        report(name, functools.partial(outcome, functools.partial(run, call)))
