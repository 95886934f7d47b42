//! The README's promise, kept: its first command, typed as it stands there.

use std::fs;
use std::path::PathBuf;

use crate::report::Outcome;
use crate::shell::{Shell, root};

/// What the README tells a stranger to type.
pub(crate) const COMMAND: &str = "cargo run --release --locked -- lock demo -- echo held";

/// Runs [`COMMAND`] on a daemon and state of its own and expects `held`, from a README that has it.
pub(crate) fn check() -> Outcome {
    let readme = root().join("README.md");
    match fs::read_to_string(&readme) {
        Ok(text) if text.lines().any(|line| line.trim() == COMMAND) => {}
        Ok(_) => return Outcome::Failed(format!("{}: no line `{COMMAND}`", readme.display())),
        Err(error) => return Outcome::Failed(format!("{}: {error}", readme.display())),
    }
    let place = match Place::make() {
        Ok(place) => place,
        Err(error) => return Outcome::Failed(format!("no temporary directory: {error}")),
    };
    let heard = Shell::new("sh")
        .args(["-c", COMMAND])
        .env("STACKGLUE_SOCKET", place.0.join("socket"))
        .env("STACKGLUE_STATE_DIR", place.0.join("state"))
        .hear();
    if !heard.success {
        Outcome::Failed(format!("`{COMMAND}` failed"))
    } else if !heard.text.lines().any(|line| line == "held") {
        Outcome::Failed(format!("`{COMMAND}` did not print `held`"))
    } else {
        Outcome::Passed
    }
}

/// A directory of this run alone, gone with the value.
struct Place(PathBuf);

impl Place {
    fn make() -> std::io::Result<Place> {
        let path = std::env::temp_dir().join(format!("stackglue-readme-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Place(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
