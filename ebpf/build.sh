#!/usr/bin/env bash
# Builds the XDP object, the same octets on every machine that has the same compiler.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ebpf/build.sh              build, and write object/ (to be committed)
       ebpf/build.sh --out FILE   build, and write only the object, to FILE
       ebpf/build.sh --check      build from nothing, and compare with object/

All three take --package DIR first, for another folder of the repository with a package like this one (default: ebpf).

SIIT_RELAY_NIGHTLY names the toolchain (rustup's name; default: nightly).

Exit codes: 0 done, or equal; 1 failed, or differs; 2 wrong usage; 3 differs, but another compiler built the committed
object; 4 the toolchain is missing (ebpf/toolchain.sh installs it).
TEXT
}

fail() { # CODE MESSAGE...
    local code=$1
    shift
    printf 'ebpf/build.sh: %s\n' "$@" >&2
    exit "$code"
}

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
package=ebpf
if [[ $# -ge 2 && $1 == --package ]]; then
    package=${2%/}
    shift 2
fi
here=$repository/$package
[[ -f $here/Cargo.toml && -f $here/sources.rs ]] || fail 2 "'$package' is no folder with such a package"
object=$here/object
stage=/tmp/siit-relay-object
name=$(sed -n '/^\[\[bin\]\]/,/^$/s/^name = "\(.*\)"$/\1/p' "$here/Cargo.toml")
again="ebpf/build.sh$([[ $package == ebpf ]] || printf ' --package %s' "$package")"

mode=commit
out=
case "$#:${1-}" in
0:) ;;
1:--check) mode=check ;;
2:--out)
    mode=out
    out=$(realpath -m -- "$2")
    ;;
1:--help)
    usage
    exit
    ;;
*)
    usage >&2
    exit 2
    ;;
esac

toolchain=${SIIT_RELAY_NIGHTLY:-nightly}
export CARGO_HOME=${CARGO_HOME:-$HOME/.cargo}
export PATH=$PATH:$CARGO_HOME/bin

# Whatever the caller (cargo itself, for one) set for its own build is not for this one.
for variable in ${!CARGO@} ${!RUST@}; do
    case $variable in
    CARGO_HOME | CARGO_HTTP_* | CARGO_NET_* | CARGO_REGISTRIES_*) ;;
    RUSTUP_TOOLCHAIN) unset "$variable" ;;
    RUSTUP_*) ;;
    *) unset "$variable" ;;
    esac
done

command -v rustup >/dev/null || fail 4 'rustup is missing: install it, then run ebpf/toolchain.sh'
with() { rustup run "$toolchain" "$@"; }
sysroot=$(with rustc --print sysroot 2>/dev/null) ||
    fail 4 "the toolchain '$toolchain' is missing: run ebpf/toolchain.sh"
rust_src=$sysroot/lib/rustlib/src/rust
[[ -f $rust_src/library/core/src/lib.rs ]] ||
    fail 4 "the toolchain '$toolchain' has no rust-src: run ebpf/toolchain.sh"
command -v bpf-linker >/dev/null || fail 4 'bpf-linker is missing: run ebpf/toolchain.sh'
objcopy=$(with rustc --print target-libdir)/../bin/rust-objcopy
[[ -x $objcopy ]] || fail 4 "the toolchain '$toolchain' has no rust-objcopy ($objcopy): take another nightly"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# One list of sources and one hash for everybody: see sources.rs.
with rustc --edition 2024 -Adead_code -o "$scratch/sources" - <<RUST
#[path = "$here/sources.rs"]
mod sources;
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let inputs: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    let inputs = if inputs.is_empty() { &sources::INPUTS[..] } else { &inputs };
    match sources::hash(arguments[0].as_ref(), inputs) {
        Ok(hash) => println!("{hash}"),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1)
        }
    }
}
RUST
sources=$("$scratch/sources" "$repository")

built_with() {
    with rustc -vV | grep -v '^host: '
    bpf-linker --version
    printf 'rust-src %s\n' "$("$scratch/sources" "$rust_src/library" core compiler-builtins)"
}

build() { # TARGET-DIRECTORY OBJECT
    # No path of this machine may end up in the object. The new ones must not exist anywhere: LLVM would read the sources
    # there and copy lines of them into the BTF.
    local remap="'--remap-path-prefix=$stage=/-/siit-relay','--remap-path-prefix=$repository=/-/siit-relay'" registry
    remap+=",'--remap-path-prefix=$rust_src=/-/rust'"
    for registry in "$CARGO_HOME"/registry/src/*/; do
        remap+=",'--remap-path-prefix=${registry%/}=/-/registry'"
    done
    # The compiler makes names of functions from where a package lies, so it is built under the same name everywhere, one
    # checkout at a time.
    (
        flock 9
        ln -sfn "$repository" "$stage"
        cd "$here"
        with cargo --config "target.bpfel-unknown-none.rustflags=[$remap]" \
            build --quiet --release --locked --target-dir "$1" --manifest-path "$stage/$package/Cargo.toml"
    ) 9>"$stage.lock" || fail 1 'the build failed'
    # DWARF is four fifths of it and of no use to the kernel; BTF stays.
    LD_LIBRARY_PATH=$sysroot/lib "$objcopy" --strip-debug \
        "$1/bpfel-unknown-none/release/$name" "$2" || fail 1 'rust-objcopy failed'
}

case $mode in
commit)
    build "$here/target" "$scratch/object"
    built_with >"$scratch/built_with"
    mkdir -p "$object"
    mv "$scratch/object" "$object/$name.bpf.o"
    mv "$scratch/built_with" "$object/BUILT_WITH"
    printf '%s\n' "$sources" >"$object/SOURCES"
    printf 'wrote %s (%s octets)\n' "$object/$name.bpf.o" "$(stat -c %s "$object/$name.bpf.o")"
    ;;
out)
    build "$here/target" "$scratch/object"
    mv "$scratch/object" "$out"
    ;;
check)
    [[ -f $object/$name.bpf.o && -f $object/SOURCES && -f $object/BUILT_WITH ]] ||
        fail 1 "there is no committed object: run $again"
    [[ $(<"$object/SOURCES") == "$sources" ]] ||
        fail 1 "the committed object is older than its sources: run $again and commit $package/object"
    build "$scratch/target" "$scratch/object"
    if cmp -s "$scratch/object" "$object/$name.bpf.o"; then
        printf 'equal: %s octets, sources %s\n' "$(stat -c %s "$scratch/object")" "$sources"
    elif difference=$(diff "$object/BUILT_WITH" <(built_with)); then
        fail 1 "the committed object differs from what its sources and the same compiler give: run $again"
    else
        fail 3 'the committed object differs, but another compiler built it (< committed, > here):' "$difference"
    fi
    ;;
esac
