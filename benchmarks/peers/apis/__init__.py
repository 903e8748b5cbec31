"""The APIs that python_peer.py can drive, one module each, as a user of it would write the same line of work.

A module has `versions()`, `start(loop)`, and those of `read_file(path)`, `write_file(path, data)`, `stat(path)`,
`submit(function)` and `lanes(names)` (name -> how to run one job in that lane) that it can do; each gives an awaitable.
"""
