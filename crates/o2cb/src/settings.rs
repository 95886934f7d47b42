//! The boot-time settings file: variables of a shell, commonly `/etc/default/o2cb` or
//! `/etc/sysconfig/o2cb`.

use crate::{Timeouts, TimeoutsError};

/// What a node does when it boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether the cluster is brought online (`O2CB_ENABLED`).
    pub enabled: bool,
    /// The label of the cluster stack (`O2CB_STACK`).
    pub stack: String,
    /// The cluster to bring online (`O2CB_BOOTCLUSTER`).
    pub cluster: Option<String>,
    /// The timings of the cluster.
    pub timeouts: Timeouts,
}

impl Default for Settings {
    fn default() -> Settings {
        let timeouts = Timeouts::default();
        Settings { enabled: false, stack: "o2cb".into(), cluster: None, timeouts }
    }
}

/// Why settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A value that only a shell can tell.
    #[error("line {line}: the value of {name} is for a shell to work out: write it as it is")]
    NotPlain {
        /// The line, from 1.
        line: usize,
        /// The variable.
        name: String,
    },
    /// A value that cannot be.
    #[error("line {line}: {name} cannot be {value:?}: {remedy}")]
    Value {
        /// The line, from 1.
        line: usize,
        /// The variable.
        name: String,
        /// What it says.
        value: String,
        /// What it can be.
        remedy: &'static str,
    },
    /// Timings that do not go together, or that a kernel refuses.
    #[error(transparent)]
    Timeouts(#[from] TimeoutsError),
}

impl Settings {
    /// Reads settings: what the text does not say has its default, and of what it says twice the last
    /// counts. Lines that set none of the variables are left to the shell.
    pub fn parse(text: &str) -> Result<Settings, SettingsError> {
        let mut settings = Settings::default();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim_start();
            let text = text.strip_prefix("export ").map_or(text, str::trim_start);
            let Some((name, value)) = text.split_once('=') else { continue };
            if !NAMES.contains(&name) {
                continue;
            }
            let value = plain(value)
                .ok_or_else(|| SettingsError::NotPlain { line, name: name.to_owned() })?;
            settings.set(name, value).map_err(|remedy| {
                let (name, value) = (name.to_owned(), value.to_owned());
                SettingsError::Value { line, name, value, remedy }
            })?;
        }
        settings.timeouts.check()?;
        Ok(settings)
    }

    /// Sets a variable; an empty one is the default.
    fn set(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        let default = Settings::default();
        let number = |default: u32| match value {
            "" => Ok(default),
            _ => value.parse().map_err(|_| "write a decimal number"),
        };
        match name {
            "O2CB_ENABLED" => {
                self.enabled = match value {
                    "true" => true,
                    "false" | "" => false,
                    _ => return Err("write true or false"),
                };
            }
            "O2CB_STACK" => {
                self.stack = match value.len() {
                    0 => default.stack,
                    4 => value.to_owned(),
                    _ => return Err("the label of a stack has four characters, such as o2cb"),
                };
            }
            "O2CB_BOOTCLUSTER" => {
                if !value.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                    return Err("the name of a cluster has letters and digits");
                }
                self.cluster = (!value.is_empty()).then(|| value.to_owned());
            }
            "O2CB_HEARTBEAT_THRESHOLD" => {
                self.timeouts.dead_threshold = number(default.timeouts.dead_threshold)?;
            }
            "O2CB_IDLE_TIMEOUT_MS" => {
                self.timeouts.idle_timeout_ms = number(default.timeouts.idle_timeout_ms)?;
            }
            "O2CB_KEEPALIVE_DELAY_MS" => {
                self.timeouts.keepalive_delay_ms = number(default.timeouts.keepalive_delay_ms)?;
            }
            _ => {
                self.timeouts.reconnect_delay_ms = number(default.timeouts.reconnect_delay_ms)?;
            }
        }
        Ok(())
    }
}

/// A value without its quotes and the comment behind it; `None` when a shell would make another of it.
fn plain(value: &str) -> Option<&str> {
    let (value, rest) = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value[1..].split_once(quote)?,
        _ => value.split_at(value.find(char::is_whitespace).unwrap_or(value.len())),
    };
    let rest_is_comment = rest.trim_start().is_empty()
        || rest.starts_with(char::is_whitespace) && rest.trim_start().starts_with('#');
    let of_a_shell = |c: char| "$`\\\"'*?[](){}<>|&;~#".contains(c);
    (rest_is_comment && !value.contains(of_a_shell)).then_some(value)
}

const NAMES: [&str; 7] = [
    "O2CB_ENABLED",
    "O2CB_STACK",
    "O2CB_BOOTCLUSTER",
    "O2CB_HEARTBEAT_THRESHOLD",
    "O2CB_IDLE_TIMEOUT_MS",
    "O2CB_KEEPALIVE_DELAY_MS",
    "O2CB_RECONNECT_DELAY_MS",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_distribution_is_read() {
        let text = "\
# O2CB_ENABLED: 'true' means to load the driver on boot.
O2CB_ENABLED=true
O2CB_BOOTCLUSTER=\"ocfs2\"   # ours

export O2CB_HEARTBEAT_THRESHOLD='61'
 O2CB_IDLE_TIMEOUT_MS=60000
O2CB_KEEPALIVE_DELAY_MS=
O2CB_RECONNECT_DELAY_MS=1
O2CB_RECONNECT_DELAY_MS=3000
. /etc/elsewhere
OTHER=$(date)
";
        let expected = Settings {
            enabled: true,
            stack: "o2cb".into(),
            cluster: Some("ocfs2".into()),
            timeouts: Timeouts {
                dead_threshold: 61,
                idle_timeout_ms: 60_000,
                keepalive_delay_ms: 2000,
                reconnect_delay_ms: 3000,
            },
        };
        assert_eq!(Settings::parse(text), Ok(expected));
        assert_eq!(Settings::parse(""), Ok(Settings::default()));
    }

    #[test]
    fn what_only_a_shell_can_tell_is_not_guessed() {
        for value in ["$HB", "`hb`", "\"6$N\"", "3\\1", "'31", "31;true", "'3'1", "31#", "31 true"]
        {
            let text = format!("\nO2CB_HEARTBEAT_THRESHOLD={value}\n");
            let name = "O2CB_HEARTBEAT_THRESHOLD".to_owned();
            assert_eq!(
                Settings::parse(&text),
                Err(SettingsError::NotPlain { line: 2, name }),
                "{value}"
            );
        }
    }

    // Behaviours 22 and 25.
    #[test]
    fn values_that_cannot_be_are_refused() {
        for (text, told) in [
            ("O2CB_ENABLED=yes", "line 1: O2CB_ENABLED cannot be \"yes\": write true or false"),
            ("O2CB_STACK=o2", "four characters"),
            ("O2CB_BOOTCLUSTER=a-b", "letters and digits"),
            ("O2CB_HEARTBEAT_THRESHOLD=-1", "decimal number"),
            ("O2CB_HEARTBEAT_THRESHOLD=4294967296", "decimal number"),
            ("O2CB_HEARTBEAT_THRESHOLD=2", "dead threshold 2 is too small"),
            ("O2CB_IDLE_TIMEOUT_MS=2000", "keepalive delay (2000 ms) has to be below"),
            ("O2CB_RECONNECT_DELAY_MS=0", "reconnect delay is 0"),
        ] {
            let error = Settings::parse(text).expect_err("refused").to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
