#!/usr/bin/env bash
# Runs the tests against an ASAN and UBSAN build in an environment of its own, then the engine's C tests under
# ASAN/UBSAN and under TSAN. Usage: scripts/sanitize.sh PYTHON VENV [PYTEST_ARGUMENT...]
set -euo pipefail

python=$1 venv=$2
shift 2

"$python" -m venv --clear "$venv"
"$venv/bin/python" -m pip install -q 'setuptools>=77' 'cffi>=1.17'
# Not editable: an editable build would put the sanitized library beside the sources, over the normal one.
UVWORKS_SANITIZE=address,undefined "$venv/bin/python" -m pip install -q --no-build-isolation '.[test]'

# The interpreter itself is not sanitized, so the runtime must be there first, and its leaks at exit are its own;
# malloc below Python's objects lets ASAN see a wrong use of them. pytest must leave descriptor 2 alone, or it would
# swallow the report of a run that is aborted. The tests of leaks measure memory, and ASAN keeps what was freed.
make -C tests/c asan tsan
env LD_PRELOAD="$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libubsan.so)" \
    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 PYTHONMALLOC=malloc \
    "$venv/bin/python" -m pytest -p no:cacheprovider --capture=sys --ignore tests/test_leaks.py "$@"
