//! Processes named so that the name never comes to mean another one.

use std::fs;
use std::path::Path;

/// Whether the process remembered in a file of the lab still runs. The file holds its pid and when it
/// was started (the lab's `remember`), since a pid alone may by now be somebody else's.
pub(crate) fn runs(file: &Path) -> bool {
    let Ok(text) = fs::read_to_string(file) else { return false };
    let mut words = text.split_whitespace();
    let (Some(pid), Some(start)) = (words.next(), words.next()) else { return false };
    pid.bytes().all(|byte| byte.is_ascii_digit())
        && fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| started(&stat).is_some_and(|now| now == start))
}

/// When a process was started, from its `/proc/PID/stat`; `None` if it has ended (a zombie has).
fn started(stat: &str) -> Option<&str> {
    // The second field is the program's name in parentheses, and may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(START_TIME - STATE - 1) }
}

/// Fields of `/proc/PID/stat`, by their numbers in proc(5).
const STATE: usize = 3;
const START_TIME: usize = 22;

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered(text: &str) -> bool {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), text).expect("ours to write");
        runs(file.path())
    }

    #[test]
    fn a_process_is_known_by_pid_and_start() {
        let me = std::process::id();
        let stat = fs::read_to_string("/proc/self/stat").expect("own stat");
        let start = started(&stat).expect("we run");
        assert!(remembered(&format!("{me} {start}\n")));
        assert!(!remembered(&format!("{me} {start}1\n")), "another process with the same pid");
        assert!(!remembered(&format!("{me}\n")));
        assert!(!remembered(&format!("../{me} {start}\n")));
        assert!(!remembered(""));
    }

    #[test]
    fn a_zombie_has_ended_and_a_name_may_hold_anything() {
        let after = "1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 777 0";
        assert_eq!(started(&format!("5 (a) Z (b) S {after}")), Some("777"));
        assert_eq!(started(&format!("5 (a b) Z {after}")), None);
        assert_eq!(started("nonsense"), None);
    }
}
