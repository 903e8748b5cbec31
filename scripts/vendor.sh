#!/usr/bin/env bash
# Fills vendor/libuv and vendor/libdeflate, for builds that carry their own: the submodules' own commits from upstream
# or, where that cannot be reached, the sources of the newest Debian package that downloads (of sid, testing and stable,
# from the mirror that this machine's apt is set to; apt checks their signatures, its own lists and settings stay as
# they are, and root is not needed). Usage: scripts/vendor.sh [libuv] [libdeflate]
#
# Rule: the repository does not notice. A submodule's folder that holds files but no repository of its own is an
# unchanged submodule to git: `git status` stays clean, and nothing of it can be committed.
# To go back to the machine's libraries: rm -rf vendor/libuv vendor/libdeflate && git checkout vendor
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

from_upstream() { # NAME
    git rev-parse --is-inside-work-tree >/dev/null 2>&1 || return 1
    GIT_TERMINAL_PROMPT=0 timeout 120 git submodule --quiet update --init --depth 1 "vendor/$1" 2>/dev/null && return
    git submodule --quiet deinit --force "vendor/$1" 2>/dev/null
    return 1
}

scratch_apt() { # TOOL COMMAND...: apt with lists, state and cache of its own, and source packages only
    local tool=$1
    shift
    "$tool" -o Dir::Etc::sourcelist="$scratch/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State="$scratch/state" -o Dir::State::status=/dev/null -o Dir::Cache="$scratch/cache" \
        -o APT::Sandbox::User="$(id -un)" -qq "$@"
}

debian_lists() { # fetched once
    [ ! -f "$scratch/sources.list" ] || return 0
    local mirror suite
    mirror=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' |
        sed -n 's/^Debian Debian //p' | head -n 1)
    [ -n "$mirror" ] || { echo "vendor.sh: apt knows no mirror of Debian's here; perhaps after apt-get update" >&2 && return 1; }
    for suite in sid testing stable; do
        echo "deb-src $mirror $suite main"
    done >"$scratch/sources.list"
    mkdir -p "$scratch"/{state/lists/partial,cache/archives/partial}
    scratch_apt apt-get update || true # one suite less is no reason to give up
}

from_debian() { # NAME PACKAGE
    command -v apt-get >/dev/null && debian_lists || return 1
    local version
    for version in $(scratch_apt apt-cache showsrc "$2" | sed -n 's/^Version: //p' | sort -Vru); do
        rm -rf "$scratch/source" && mkdir "$scratch/source"
        (cd "$scratch/source" && scratch_apt apt-get source --download-only --tar-only "$2=$version") >"$scratch/apt.log" 2>&1 ||
            { echo "vendor.sh: $2 $version does not download; an older one perhaps" >&2 && continue; }
        rm -rf "vendor/$1" && mkdir "vendor/$1"
        # The files get today's time (-m), so that make notices.
        tar -xmf "$scratch/source/"*.orig.tar.* --strip-components=1 -C "vendor/$1"
        return
    done
    return 1
}

version_of() { # NAME: what the sources say
    case $1 in
    libuv) sed -nE 's/^#define UV_VERSION_(MAJOR|MINOR|PATCH) +//p' vendor/libuv/include/uv/version.h | paste -sd. ;;
    libdeflate) sed -nE 's/^#define LIBDEFLATE_VERSION_STRING[[:space:]]+"(.*)"/\1/p' vendor/libdeflate/libdeflate.h ;;
    esac
}

[ $# -gt 0 ] || set -- libuv libdeflate
for name in "$@"; do
    case $name in
    libuv) package=libuv1 ;;
    libdeflate) package=libdeflate ;;
    *) echo "vendor.sh: $name is not vendored; there are libuv and libdeflate" >&2 && exit 2 ;;
    esac
    if [ -e "vendor/$name/.git" ]; then
        git submodule update --init "vendor/$name"
        echo "vendor/$name: $(version_of "$name"), the submodule"
        continue
    fi
    # git clones only into an empty folder; what was there comes back when nothing takes its place.
    mkdir -p "vendor/$name" && mv "vendor/$name" "$scratch/$name" && mkdir "vendor/$name"
    if from_upstream "$name"; then
        echo "vendor/$name: $(version_of "$name"), the submodule"
    elif from_debian "$name" "$package"; then
        echo "vendor/$name: $(version_of "$name"), from Debian's source package $package"
    else
        rm -rf "vendor/$name" && mv "$scratch/$name" "vendor/$name"
        echo "vendor.sh: neither upstream nor a mirror of Debian's has $name for us" >&2
        exit 1
    fi
done
