# The test suite mirrors src/uvworks: tests/fs for uvworks.fs, one file a topic beside it, tests/c for the engine alone.
