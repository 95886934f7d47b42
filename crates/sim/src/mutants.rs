//! x
use std::process::ExitCode;
pub(crate) fn run(_seeds: u64, _filter: Option<&str>) -> ExitCode {
    ExitCode::SUCCESS
}
