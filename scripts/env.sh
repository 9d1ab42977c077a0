# The versions of the tools and where they live; sourced by the other scripts, from the repository root.
#
# A tool of the right version on PATH is used as it is. A missing one is installed by scripts/setup into a folder that all
# clones share, one folder for each tool and version, so that changing a version never disturbs another checkout.

TRUNK_VERSION=0.21.14
BINARYEN_VERSION=132
# exactly the lock file's: the command-line tool and the crate must speak the same dialect
WASM_BINDGEN_VERSION=$(sed -n '/^name = "wasm-bindgen"$/{n;s/^version = "\(.*\)"$/\1/p;}' Cargo.lock)
# the oldest compiler that is known to build the page
RUST_VERSION=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)

WASM_TARGET=wasm32-unknown-unknown
TOOLS=${ODDLENS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/oddlens-tools}
TRUNK_HOME=$TOOLS/trunk-$TRUNK_VERSION
WASM_BINDGEN_HOME=$TOOLS/wasm-bindgen-$WASM_BINDGEN_VERSION
BINARYEN_HOME=$TOOLS/binaryen-$BINARYEN_VERSION
PATH=$TRUNK_HOME/bin:$WASM_BINDGEN_HOME/bin:$BINARYEN_HOME/bin:$PATH
export PATH

# Trunk wants "true" where the convention of NO_COLOR says "anything".
if [ -n "${NO_COLOR:-}" ]; then export NO_COLOR=true; fi

# wasm_env COMMAND...: without what would replace the flags of .cargo/config.toml (simd128, the browser's random source)
wasm_env() {
    env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_RUSTFLAGS -u CARGO_BUILD_TARGET \
        -u CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS -u CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER "$@"
}

# target_dir: where Cargo puts its output, whoever has set it
target_dir() {
    cargo metadata --format-version 1 --no-deps --offline 2>/dev/null | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'
}

# find_chromium: prints the browser's path, or fails
find_chromium() {
    if [ -n "${CHROMIUM:-}" ]; then command -v "$CHROMIUM"; return; fi
    local name
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        if command -v "$name"; then return 0; fi
    done
    return 1
}
