//! The `secateur` binary: a thin door to `secateur_compiler::cli`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    secateur_compiler::cli::main()
}
