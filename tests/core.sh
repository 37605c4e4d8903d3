# Rust for the emulated Cortex-M4 and M33, M55: to be sourced, in the repository's root.
#
# A toolchain that has their `core` is taken as it is; of one that brings its sources, `core` is built once, into
# target/sysroot.

TRIPLES=(thumbv7em-none-eabihf thumbv8m.main-none-eabihf)

# Whether a compiler has `core` for all of them.
has_core() {
  local triple
  for triple in "${TRIPLES[@]}"; do
    compgen -G "$("$1" --print target-libdir --target "$triple" 2>/dev/null)/libcore-*" >/dev/null || return 1
  done
}

library_sources() { ls -d "$("$1" --print sysroot)/lib/rustlib/src/rust/library" 2>/dev/null; }

# Prints the compiler: one with `core`, else one with its sources.
rust_for_cores() {
  local rustc
  for rustc in rustc /usr/bin/rustc; do
    command -v "$rustc" >/dev/null && has_core "$rustc" && echo "$rustc" && return
  done
  for rustc in rustc /usr/bin/rustc; do
    command -v "$rustc" >/dev/null && library_sources "$rustc" >/dev/null && echo "$rustc" && return
  done
  echo "no Rust for ${TRIPLES[*]}: rustup target add ${TRIPLES[*]}" >&2
  return 1
}

# Has Cargo build for the cores with this compiler from now on.
use_core() {
  local rustc=$1 library sysroot triple lib empty name vendored
  [ "$rustc" = rustc ] || export RUSTC=$rustc
  has_core "$rustc" && return
  library=$(library_sources "$rustc")
  # Paths may hold versions: a sysroot for each release.
  sysroot=$PWD/target/sysroot/$("$rustc" --version | cut -d' ' -f2)
  for triple in "${TRIPLES[@]}"; do
    lib=$sysroot/lib/rustlib/$triple/lib
    if ! compgen -G "$lib/libcore-*" >/dev/null; then
      mkdir -p "$lib"
      empty=$(mktemp -d "$PWD/target/core.XXXXXX")
      mkdir "$empty/src"
      printf '#![no_std]\n' >"$empty/src/lib.rs"
      printf '[package]\nname = "empty"\nedition = "2021"\n[profile.release]\npanic = "abort"\n[workspace]\n' >"$empty/Cargo.toml"
      vendored=()
      [ -d "$library/vendor" ] && vendored=(--offline --config 'source.crates-io.replace-with="vendored"'
        --config "source.vendored.directory=\"$library/vendor\"")
      (cd "$empty" && RUSTC_BOOTSTRAP=1 RUSTC=$rustc CARGO_TARGET_DIR=$empty/target \
        cargo build --quiet --release -Zbuild-std=core --target "$triple" "${vendored[@]}") || { rm -rf "$empty"; return 1; }
      find "$empty/target/$triple/release/deps" -name '*.rlib' ! -name 'libempty*' -exec mv {} "$lib" \;
      rm -rf "$empty"
    fi
    name=${triple//[-.]/_}
    export "CARGO_TARGET_${name^^}_RUSTFLAGS=--sysroot=$sysroot"
    # Such toolchains come without a linker for it.
    export "CARGO_TARGET_${name^^}_LINKER=arm-none-eabi-ld"
  done
}
