//! `cargo xtask sim`.

fn main() -> std::process::ExitCode {
    stackglue_sim::main()
}
