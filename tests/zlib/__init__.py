# uvworks.zlib against zlib, gzip, Node and the commands.
