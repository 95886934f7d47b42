//! The behaviours that every stack has, on `solo`.

use std::sync::Arc;

use stackglue::conformance::{Capabilities, Setup};
use stackglue_user::{UserOptions, UserPlugin};

stackglue::conformance_suite!(|| {
    let plugin = Arc::new(UserPlugin::new(UserOptions::default()));
    Setup::new(plugin, "solo", Capabilities::FULL)
});
