"""python -m uvworks script.py [arguments], or -m module: run an unchanged asyncio program on our loop."""

import runpy
import sys

from . import install

_USAGE = "usage: python -m uvworks [-m module | script.py | -] [arguments]"


def main() -> None:
    """Run what the command line names as Python itself would, with asyncio making uvworks loops."""
    arguments = sys.argv[1:]
    if not arguments or arguments in (["-h"], ["--help"], ["-m"]):
        print(_USAGE, file=sys.stderr if arguments[:1] != ["-h"] else sys.stdout)
        raise SystemExit(0 if arguments and arguments != ["-m"] else 2)
    install()
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


main()
