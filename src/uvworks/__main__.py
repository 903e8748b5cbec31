"""python -m uvworks script.py [arguments], or -m module: run an unchanged asyncio program on our loop."""

import os
import runpy
import sys

from . import install

_USAGE = "usage: python -m uvworks (-m module | script.py) [arguments]"


def main() -> None:
    """Run what the command line names as Python itself would, with asyncio making uvworks loops."""
    arguments = sys.argv[1:]
    if arguments[:1] in (["-h"], ["--help"]):
        print(_USAGE)
        return
    if not arguments or arguments == ["-m"]:
        sys.exit(_USAGE)
    install()
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return
    script = arguments[0]
    sys.argv = arguments
    if not sys.flags.safe_path:
        # Python looks for a script's imports beside it; run_path() itself adds a directory or an archive.
        sys.path[:1] = [os.path.dirname(os.path.abspath(script))] if os.path.isfile(script) else []
    runpy.run_path(script, run_name="__main__")


main()
