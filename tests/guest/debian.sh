# SPDX-License-Identifier: GPL-2.0-or-later
# What the scripts that make Debian kernels, trees and disks share; to be sourced. An edition of a recipe is named by the bytes of its files.

# The cache: DOMUS_CACHE, or ~/.cache/domus.
cache=${DOMUS_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/domus}
mkdir -p "$cache"

# edition FILE...: twelve digits that change with any of the files.
edition() {
        cat "$@" | sha256sum | cut -c 1-12
}

# One maker at a time of what $1 names.
lock() {
        exec 9>"$cache/.lock$1"
        flock 9
}

# need_root WHAT: making a tree by dpkg takes root, as dpkg itself does.
need_root() {
        if [ "$(id -u)" != 0 ] || ! command -v mmdebstrap >/dev/null; then
                echo "${0##*/}: making $1 needs root and mmdebstrap" >&2
                exit 1
        fi
}

# debian_sources [ARCHITECTURES]: Debian 12's own repositories, from where this host takes them, as lines of sources.list. Further
# architectures (",i386") come without updates: little is taken from them.
debian_sources() {
        sources=$(apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN) $(CODENAME)' 'Created-By: Packages' |
                sed -n -e "s/^deb \([^ ]* bookworm main\) Debian bookworm\$/deb [arch=amd64${1:-}] \1/p" \
                        -e 's/^deb \([^ ]* bookworm-[^ ]* main\) Debian bookworm-.*/deb [arch=amd64] \1/p' | sort -u)
        if [ -z "$sources" ]; then
                echo "${0##*/}: apt knows no Debian 12; run apt-get update" >&2
                exit 1
        fi
        printf '%s\n' "$sources"
}

# mmdebstrap in a mount namespace of its own: it mounts this host's /dev/shm and others below the tree, and if it is killed they go with it.
make_tree() {
        unshare --mount --propagation private mmdebstrap --mode=root --format=directory "$@"
}

# Removes what was being made; never into something mounted there.
discard() {
        rm -rf --one-file-system "$1"
}
