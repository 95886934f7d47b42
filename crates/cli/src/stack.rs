//! `stackglue stack`: the cluster stack in force.

use daemon::control::{ControlRequest, StackItem};

use crate::arguments::StackArguments;
use crate::exit::Failure;
use crate::{print, session};

/// Prints the label of the stack, after it was changed if a label was given.
pub(crate) fn run(arguments: &StackArguments) -> Result<u8, Failure> {
    let request = match &arguments.label {
        Some(label) => ControlRequest::SetStack { label: label.clone() },
        None => ControlRequest::Stack {},
    };
    let mut client = session::connect_or_start("stackglue stack")?;
    let items: Vec<StackItem> = client.control(&request)?.read_all()?;
    for item in items {
        print::text(&format!("{}\n", item.label));
    }
    Ok(0)
}
