//! `stackglue nodes`: the nodes of the cluster.

use daemon::control::{ControlRequest, NodeItem};

use crate::arguments::NodesArguments;
use crate::exit::{Failure, NOT_RUNNING};
use crate::table::{lay_out, span, tame};
use crate::{print, session};

/// Prints every node.
pub(crate) fn run(arguments: &NodesArguments) -> Result<u8, Failure> {
    let Some(mut client) = session::connect_if_running("stackglue nodes")? else {
        let socket = daemon::location::default_socket();
        let sentence = format!("no daemon runs at {}", socket.display());
        return Err(Failure::new(NOT_RUNNING, sentence));
    };
    let nodes: Vec<NodeItem> = client.control(&ControlRequest::Nodes {})?.read_all()?;
    if arguments.json {
        nodes.iter().for_each(print::json);
    } else {
        let rows: Vec<_> = nodes.iter().map(row).collect();
        print::text(&lay_out(HEADING, &rows));
    }
    Ok(0)
}

fn row(node: &NodeItem) -> [String; 8] {
    let star = if node.is_this { "*" } else { "" };
    let link = match node.link.as_str() {
        "" => String::new(),
        link if node.last_error.is_empty() || link == "connected" => tame(link, WORDS_CHARS_MAX),
        link => tame(&format!("{link}: {}", node.last_error), WORDS_CHARS_MAX),
    };
    [
        format!("{}{star}", node.node),
        tame(&node.name, WORDS_CHARS_MAX),
        node.address.clone(),
        if node.is_alive { "alive" } else { "dead" }.to_owned(),
        node.heartbeat_age_ms.map_or_else(String::new, span),
        link,
        node.masters.to_string(),
        node.fence_in_ms.map_or_else(String::new, span),
    ]
}

const HEADING: [&str; 8] =
    ["NODE", "NAME", "ADDRESS", "STATE", "HEARTBEAT", "LINK", "MASTERS", "FENCE IN"];

/// The most characters of a name or a reason; JSON has all of them.
const WORDS_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_told_with_its_link_and_why_that_is_down() {
        let mut node = NodeItem {
            node: 3,
            name: "c".into(),
            address: "10.0.0.3:7777".into(),
            is_alive: true,
            heartbeat_age_ms: Some(1200),
            link: "connecting".into(),
            last_error: "refused".into(),
            masters: 2,
            ..NodeItem::default()
        };
        let shown = ["3", "c", "10.0.0.3:7777", "alive", "1.2s", "connecting: refused", "2", ""];
        assert_eq!(row(&node), shown);
        node.link = "connected".into();
        assert_eq!(row(&node)[5], "connected", "what was before does not matter");
        node = NodeItem { is_this: true, link: String::new(), fence_in_ms: Some(58_000), ..node };
        assert_eq!((&*row(&node)[0], &*row(&node)[5], &*row(&node)[7]), ("3*", "", "58s"));
    }
}
