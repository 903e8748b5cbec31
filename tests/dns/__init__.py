# uvworks.dns against the socket module, and against a DNS server that a test runs.
