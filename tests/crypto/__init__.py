# uvworks.crypto against hashlib, `cryptography`, the RFCs' vectors, Node and the openssl command.
