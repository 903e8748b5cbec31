# Every uvworks.fs function against the standard library's answer on the same tree.
