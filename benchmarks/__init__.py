"""Benchmarks of uvworks beside its peers: `python -m benchmarks --list`. How to run and read them:
docs/benchmarks.md.

One file here is one scenario (the file's name is its topic) and is data only: cells, peers, targets. `peers/` holds
the programs that do the work, one process each; `harness/` starts them, interleaves their rounds and prints what
came out.
"""
