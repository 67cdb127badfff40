#!/usr/bin/env bash
# Installs what ebpf/build.sh needs: a nightly toolchain with rust-src, and bpf-linker. What is there already is left alone.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ebpf/toolchain.sh                        install what is missing
       ebpf/toolchain.sh --rust-src FILE.tar.*  take the standard library's sources from an archive with a folder library/

rust-src comes from rustup; where rustup cannot download, from Debian unstable's package rust-src, by apt.
SIIT_RELAY_NIGHTLY names the toolchain (rustup's name; default: nightly).
TEXT
}

# The last release that uses the compiler's own LLVM: later ones want one from the system.
bpf_linker=0.10.1
toolchain=${SIIT_RELAY_NIGHTLY:-nightly}
archive=

say() { printf 'ebpf/toolchain.sh: %s\n' "$@"; }
fail() {
    say "$@" >&2
    exit 1
}

case "$#:${1-}" in
0:) ;;
2:--rust-src) archive=$(realpath -e -- "$2") ;;
1:--help)
    usage
    exit
    ;;
*)
    usage >&2
    exit 2
    ;;
esac

export PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
command -v rustup >/dev/null || fail 'rustup is missing: install it (https://rustup.rs, or the package rustup of your system)'

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
chmod 755 "$scratch" # apt downloads as a user of its own

with() { rustup run "$toolchain" "$@"; }

install_nightly() {
    if with rustc --version >/dev/null 2>&1; then
        return
    fi
    say "installing the toolchain '$toolchain'"
    rustup toolchain install --profile minimal "$toolchain" ||
        fail "rustup could not install '$toolchain': give the name of one that is installed as SIIT_RELAY_NIGHTLY (rustup toolchain list)"
}

# Says which minor version of Rust, such as 1.97, a version text starts with.
minor() { sed -E 's/^([0-9]+\.[0-9]+)\..*/\1/' <<<"$1"; }

# Says which release the sources in a folder library/ are of, which no file in it tells: that of the newest stable feature, or
# the one after it if there are features that wait for a number, as on nightly.
release_of() { # LIBRARY
    local features newest
    features=$(grep -rhoE '\bstable\(feature = "[^"]*", since = "[^"]+"' "$1/core/src" | sed -E 's/.*"([^"]+)"$/\1/' | sort -Vu)
    newest=$(grep -E '^[0-9.]+$' <<<"$features" | tail -n 1)
    if grep -qx CURRENT_RUSTC_VERSION <<<"$features"; then
        printf '1.%d.0\n' $(($(cut -d . -f 2 <<<"$newest") + 1))
    else
        printf '%s\n' "$newest"
    fi
}

# Puts a folder library/ in its place, if it fits the compiler.
place() { # LIBRARY VERSION
    local ours
    ours=$(with rustc --version | cut -d ' ' -f 2)
    [[ $(minor "$2") == $(minor "$ours") ]] || fail \
        "the rust-src at hand is $2, the toolchain '$toolchain' is $ours: the minor versions must be the same" \
        "install a nightly of $(minor "$2") and name it in SIIT_RELAY_NIGHTLY, or give a rust-src of $(minor "$ours") with --rust-src"
    # A folder that is there but has no library in it would be in the way.
    rm -rf "$rust_src/library.new"
    mkdir -p "$rust_src"
    cp -r "$1" "$rust_src/library.new"
    rm -rf "$rust_src/library"
    mv "$rust_src/library.new" "$rust_src/library"
    say "rust-src $2 is in $rust_src"
}

# Downloads Debian unstable's rust-src. The mirror and its keys are those of this machine; its sources and lists stay as they are.
rust_src_by_apt() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    local mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' 'Component: main' | head -n 1)
    [[ -n $mirror ]] || {
        say 'apt knows no Debian mirror (if this is Debian: run apt-get update, then try again)'
        return 1
    }
    [[ -r $keyring ]] || {
        say "$keyring is missing: install the package debian-archive-keyring"
        return 1
    }
    mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial" "$scratch/download" "$scratch/unpacked"
    printf 'deb [signed-by=%s] %s sid main\n' "$keyring" "$mirror" >"$scratch/sources.list"
    local apt=(apt-get -qq
        -o "Dir::Etc::sourcelist=$scratch/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null
        -o "Dir::State::lists=$scratch/lists" -o "Dir::Cache=$scratch/cache" -o Acquire::Languages=none)
    # apt's own user may write where apt downloads to; without root, apt needs no such user.
    if [[ $EUID -eq 0 ]] && id _apt >/dev/null 2>&1; then
        chown _apt "$scratch/download"
    fi
    say "downloading rust-src of Debian unstable from $mirror"
    "${apt[@]}" update || return 1
    (cd "$scratch/download" && "${apt[@]}" download rust-src/sid) || return 1
    local package=("$scratch"/download/rust-src_*.deb) version
    version=$(dpkg-deb --field "${package[0]}" Version)
    dpkg-deb --extract "${package[0]}" "$scratch/unpacked" || return 1
    local core
    core=$(find "$scratch/unpacked" -path '*/library/core/src/lib.rs' -print -quit)
    [[ -n $core ]] || {
        say "the package rust-src $version has no library/core"
        return 1
    }
    place "${core%/core/src/lib.rs}" "$version"
}

install_rust_src() {
    local sysroot
    sysroot=$(with rustc --print sysroot)
    rust_src=$sysroot/lib/rustlib/src/rust
    if [[ -n $archive ]]; then
        mkdir "$scratch/archive"
        tar -xf "$archive" -C "$scratch/archive" || fail "cannot unpack $archive"
        local core
        core=$(find "$scratch/archive" -path '*library/core/src/lib.rs' -print -quit)
        [[ -n $core ]] || fail "$archive has no library/core/src/lib.rs: it is no rust-src"
        place "${core%/core/src/lib.rs}" "$(release_of "${core%/core/src/lib.rs}")"
    elif [[ -f $rust_src/library/core/src/lib.rs ]]; then
        say "rust-src is there already ($rust_src)"
    elif rustup component add rust-src --toolchain "$toolchain"; then
        say 'rust-src was installed by rustup'
    else
        say 'rustup could not install rust-src; trying Debian'
        rust_src_by_apt || fail \
            'apt could not get rust-src either' \
            'get rust-src of the same minor version on another machine, and give it: ebpf/toolchain.sh --rust-src FILE.tar.xz'
    fi
}

install_bpf_linker() {
    if [[ $(bpf-linker --version 2>/dev/null) == "bpf-linker $bpf_linker" ]]; then
        say "bpf-linker $bpf_linker is there already"
        return
    fi
    say "installing bpf-linker $bpf_linker (takes a minute or two)"
    cargo install --locked "bpf-linker@$bpf_linker" ||
        fail 'cargo could not install bpf-linker: it needs the crates registry and a C compiler (cc)'
}

install_nightly
install_rust_src
install_bpf_linker
say "ready: $(with rustc --version), $(bpf-linker --version)"
