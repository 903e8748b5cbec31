# The test suite mirrors src/uvworks: a folder for each of its packages and one file a topic beside them; tests/c is for
# the engine alone, tests/programs for what others have built on asyncio, tests/conformance for CPython's own tests.
