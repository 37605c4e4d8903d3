//! The `secateur` binary: a thin door to `secateur_compiler::cli`.

fn main() -> std::process::ExitCode {
    secateur_compiler::cli::main()
}
