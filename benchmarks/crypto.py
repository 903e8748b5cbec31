"""Key derivation, keys, signatures and random bytes, 16 in flight, with the same OpenSSL calls on all sides."""

from benchmarks.harness.scenario import Cell, Peer, Ratio, Scenario

OURS = Peer("uvworks on asyncio", "crypto_peer.py", ("uvworks", "asyncio"))
OURS_OWN = Peer("uvworks on uvworks", "crypto_peer.py", ("uvworks", "uvworks"))
EXECUTOR = Peer("executor on asyncio", "crypto_peer.py", ("executor", "asyncio"))
EXECUTOR_UVLOOP = Peer("executor on uvloop", "crypto_peer.py", ("executor", "uvloop"))
NODE = Peer("node callbacks", "crypto_peer.mjs")

EVEN = 0.97
TARGETS = {
    "pbkdf2": EVEN,
    "scrypt": EVEN,
    "sign ed25519": EVEN,
    "sign ec": EVEN,
    "sign rsa": EVEN,
    "verify ed25519": EVEN,
    "verify ec": EVEN,
    "verify rsa": EVEN,
    "pair ed25519": 1.0,
    "pair ed25519 pem": 1.0,
    "random 64 B": 1.0,
}

SCENARIO = Scenario(
    about=(
        "pbkdf2-sha256 with 20,000 iterations, scrypt with n=16384, signatures of 1 KiB with key objects (P-256, RSA "
        "2048), ed25519 pairs as key objects and as PEM, 64 random bytes (executor: os.urandom)"
    ),
    unit="thousand calls/s",
    cells=[Cell(name, {"operation": name, "in_flight": 16}) for name in TARGETS],
    peers=[OURS, OURS_OWN, EXECUTOR, EXECUTOR_UVLOOP, NODE],
    ratios=[
        Ratio(OURS, NODE, TARGETS),
        Ratio(OURS_OWN, NODE, TARGETS),
        Ratio(OURS, EXECUTOR, {"random 64 B": 4.0}),
    ],
)
