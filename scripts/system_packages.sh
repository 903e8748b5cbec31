#!/usr/bin/env bash
# Installs the Debian packages that the build and, if asked to, the tests need, and calls apt only when something is
# missing. Usage: scripts/system_packages.sh PYTHON [test]
# Rule: ask for the thing itself (a header, a command, a module), not for a package, so that an interpreter or a
# libuv from elsewhere counts too.
set -euo pipefail

python=$1 purpose=${2:-build}
packages=()
read -ra compiler <<<"${CC:-cc}" # a command with arguments, as in CC="ccache gcc"

fail() {
    echo "uvworks: $1" >&2
    exit 1
}

can_compile() { # HEADER [FLAG...]
    printf '#include <%s>\n' "$1" | "${compiler[@]}" "${@:2}" -E -o /dev/null -x c - 2>/dev/null
}

can_compile stdlib.h || packages+=(gcc libc6-dev)
can_compile uv.h || packages+=(libuv1-dev)
can_compile libdeflate.h || packages+=(libdeflate-dev)
can_compile zlib.h || packages+=(zlib1g-dev)
can_compile brotli/encode.h || packages+=(libbrotli-dev)
can_compile zstd.h || packages+=(libzstd-dev)
can_compile openssl/decoder.h || packages+=(libssl-dev)
[ ! -f vendor/libuv/CMakeLists.txt ] || command -v cmake >/dev/null || packages+=(cmake)
command -v pkg-config >/dev/null || packages+=(pkg-config)

if [ "$purpose" = test ]; then
    # The servers of tests/programs, and CPython's own tests, which Debian keeps apart from its interpreters.
    command -v redis-server >/dev/null || packages+=(redis-server)
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || packages+=(postgresql)
    debian_without_tests='import sys; from importlib.util import find_spec
sys.exit(not (sys.prefix == "/usr" and not find_spec("test.test_asyncio")))'
    ! "$python" -c "$debian_without_tests" ||
        packages+=("libpython$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-testsuite")
fi

if command -v "$python" >/dev/null; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$python is $("$python" --version 2>&1), and Python 3.11 or newer is needed: make PYTHON=/path/to/python"
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    [ -f "$include/Python.h" ] || packages+=("python$version-dev")
    "$python" -c 'import ensurepip, venv' 2>/dev/null || packages+=("python$version-venv")
else
    packages+=("$(basename "$python")" "$(basename "$python")-dev" "$(basename "$python")-venv")
fi

[ ${#packages[@]} -eq 0 ] && exit 0
command -v apt-get >/dev/null || fail "this machine has no apt-get; install what these Debian packages hold: ${packages[*]}"
sudo=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "missing packages, and neither root nor sudo: apt-get install ${packages[*]}"
    sudo=(sudo)
fi
echo "uvworks: installing ${packages[*]}"
apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300)
"${apt[@]}" update -qq
"${apt[@]}" install -y -qq --no-install-recommends "${packages[@]}" </dev/null >/dev/null
