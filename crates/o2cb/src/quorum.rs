//! Quorum (o2quo): who stays when links are lost while disks are not.

use std::fmt;

use crate::mutants::{Mutant, planted};
use crate::{NodeId, NodeMap};

/// Which nodes heartbeat, which are connected, and what follows when the two differ
/// (`fs/ocfs2/cluster/quorum.c`).
///
/// Pure: the heartbeat and the network tell it what happens, in the order in which it happens; it has
/// no timers. A *hold* is an open question about one node, heartbeating or connected but not both; a
/// decision waits until the last one is answered. This node is in both sets: connected
/// ([`connection_up`](Quorum::connection_up)) while it listens, heartbeating while its own slot is live.
#[derive(Debug)]
pub struct Quorum {
    me: NodeId,
    heartbeating: NodeMap,
    connected: NodeMap,
    holds: NodeMap,
    pending: bool,
}

impl Quorum {
    /// A quorum that knows of nobody yet, itself included.
    pub fn new(me: NodeId) -> Quorum {
        Quorum {
            me,
            heartbeating: NodeMap::EMPTY,
            connected: NodeMap::EMPTY,
            holds: NodeMap::EMPTY,
            pending: false,
        }
    }

    /// A node heartbeats (`o2quo_hb_up`).
    #[must_use = "the verdict may be to fence"]
    pub fn heartbeat_up(&mut self, node: NodeId) -> Option<Verdict> {
        self.heartbeating.insert(node);
        self.hold_unless(node, self.connected.contains(node))
    }

    /// A node no longer heartbeats: there is nothing to ask about it any more (`o2quo_hb_down`).
    #[must_use = "the verdict may be to fence"]
    pub fn heartbeat_down(&mut self, node: NodeId) -> Option<Verdict> {
        self.heartbeating.remove(node);
        self.clear_hold(node)
    }

    /// A connection to a node is valid, or valid again (`o2quo_conn_up`).
    #[must_use = "the verdict may be to fence"]
    pub fn connection_up(&mut self, node: NodeId) -> Option<Verdict> {
        self.connected.insert(node);
        self.hold_unless(node, self.heartbeating.contains(node))
    }

    /// A connection to a node was lost, or has been idle for too long (`o2quo_conn_err`).
    pub fn connection_error(&mut self, node: NodeId) {
        if self.connected.remove(node) && self.heartbeating.contains(node) {
            self.holds.insert(node);
        }
    }

    /// A node without a connection has gone on heartbeating for so long that a disk failure would have
    /// shown (`o2quo_hb_still_up`).
    #[must_use = "the verdict may be to fence"]
    pub fn still_up(&mut self, node: NodeId) -> Option<Verdict> {
        self.pending = true;
        self.clear_hold(node)
    }

    /// The nodes that heartbeat.
    pub fn heartbeating(&self) -> NodeMap {
        self.heartbeating
    }

    /// The nodes that are connected.
    pub fn connected(&self) -> NodeMap {
        self.connected
    }

    /// The nodes that a decision waits for.
    pub fn holds(&self) -> NodeMap {
        self.holds
    }

    /// Whether a decision waits.
    pub fn is_pending(&self) -> bool {
        self.pending
    }

    fn hold_unless(&mut self, node: NodeId, both: bool) -> Option<Verdict> {
        if both {
            self.clear_hold(node)
        } else {
            self.holds.insert(node);
            None
        }
    }

    fn clear_hold(&mut self, node: NodeId) -> Option<Verdict> {
        let last = self.holds.remove(node) && self.holds.is_empty();
        (last && std::mem::take(&mut self.pending)).then(|| self.decide())
    }

    /// `o2quo_make_decision`.
    fn decide(&self) -> Verdict {
        let numbers = Numbers {
            heartbeating: self.heartbeating.len(),
            connected: self.connected.len(),
            lowest: self.heartbeating.lowest(),
        };
        let (heartbeating, connected) = (numbers.heartbeating, numbers.connected);
        if !self.heartbeating.contains(self.me) || heartbeating == 1 {
            return Verdict::Stay(numbers);
        }
        // Of an odd number the majority; of an even one half, if the lowest node is in it.
        let needed = heartbeating.div_ceil(2);
        let tie = heartbeating % 2 == 0 && connected == needed;
        if connected < needed && !planted(Mutant::MinorityStays) {
            Verdict::Fence(numbers, FenceReason::Minority)
        } else if tie
            && !planted(Mutant::BothHalvesStay)
            && !numbers.lowest.is_some_and(|lowest| self.connected.contains(lowest))
        {
            Verdict::Fence(numbers, FenceReason::HalfWithoutLowest)
        } else {
            Verdict::Stay(numbers)
        }
    }
}

/// What a decision came to. Its text is a sentence for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This node goes on.
    Stay(Numbers),
    /// This node stops, at once and without another write.
    Fence(Numbers, FenceReason),
}

impl Verdict {
    /// Whether this node has to stop.
    pub fn is_fence(&self) -> bool {
        matches!(self, Verdict::Fence(..))
    }
}

/// What a decision was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// How many nodes heartbeat, this one included.
    pub heartbeating: usize,
    /// How many nodes are connected, this one included.
    pub connected: usize,
    /// The lowest node that heartbeats.
    pub lowest: Option<NodeId>,
}

/// Why this node and not the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceReason {
    /// It is connected to fewer than half of the nodes that heartbeat.
    Minority,
    /// It is connected to half of them, and the lowest one is in the other half.
    HalfWithoutLowest,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Verdict::Stay(numbers) | Verdict::Fence(numbers, _)) = self;
        let Numbers { heartbeating, connected, lowest } = numbers;
        match self {
            Verdict::Stay(_) => write!(
                f,
                "this node stays: it is connected to {connected} of {heartbeating} nodes that \
                 heartbeat, itself included"
            ),
            Verdict::Fence(_, FenceReason::Minority) => write!(
                f,
                "this node fences itself: it is connected to {connected} of {heartbeating} nodes \
                 that heartbeat, itself included, which is less than half"
            ),
            Verdict::Fence(_, FenceReason::HalfWithoutLowest) => {
                write!(
                    f,
                    "this node fences itself: it is connected to {connected} of {heartbeating} \
                     nodes that heartbeat, itself included, which is half of them"
                )?;
                lowest.map_or(Ok(()), |lowest| write!(f, ", and the lowest, node {lowest}, is not"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::new(number).expect("a node of the test")
    }

    /// The first five nodes whose bit is set.
    fn subset(bits: u8) -> Vec<u8> {
        (0..5).filter(|number| bits >> number & 1 == 1).collect()
    }

    /// Who is `me` in a cluster where these heartbeat and these are connected, with the link to the
    /// rest lost long ago.
    fn verdict(me: u8, heartbeating: &[u8], connected: &[u8]) -> Verdict {
        let mut quorum = Quorum::new(node(me));
        for number in connected {
            assert_eq!(quorum.connection_up(node(*number)), None);
        }
        for number in heartbeating {
            assert_eq!(quorum.heartbeat_up(node(*number)), None);
        }
        let holds: Vec<NodeId> = quorum.holds().iter().collect();
        let verdicts: Vec<Verdict> =
            holds.iter().filter_map(|held| quorum.still_up(*held)).collect();
        match verdicts[..] {
            // Everybody who heartbeats is connected: nothing asks.
            [] if holds.is_empty() => quorum.decide(),
            [verdict] => {
                assert!(!quorum.is_pending());
                verdict
            }
            _ => panic!("{verdicts:?}"),
        }
    }

    /// The rule in other words: twice the connected against the heartbeating.
    fn fences(me: u8, heartbeating: &[u8], connected: &[u8]) -> bool {
        if heartbeating.len() < 2 || !heartbeating.contains(&me) {
            return false;
        }
        match (2 * connected.len()).cmp(&heartbeating.len()) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => !connected.contains(heartbeating.iter().min().expect("two or more")),
        }
    }

    // Behaviours 75, 76, 77, 83.
    #[test]
    fn every_world_of_five_nodes() {
        for me in 0..5 {
            for heartbeating in (0..32).map(subset) {
                for connected in (0..32).map(subset) {
                    assert_eq!(
                        verdict(me, &heartbeating, &connected).is_fence(),
                        fences(me, &heartbeating, &connected),
                        "node {me}, heartbeating {heartbeating:?}, connected {connected:?}"
                    );
                }
            }
        }
    }

    /// However five nodes are split in two, the nodes of exactly one part stay.
    #[test]
    fn one_part_of_a_split_survives() {
        let all = subset(31);
        for part in (1..31).map(subset) {
            let rest: Vec<u8> = all.iter().copied().filter(|n| !part.contains(n)).collect();
            let stays = |part: &[u8]| {
                let stays: Vec<bool> =
                    part.iter().map(|me| !verdict(*me, &all, part).is_fence()).collect();
                assert!(stays.iter().all(|stay| *stay == stays[0]));
                stays[0]
            };
            assert_ne!(stays(&part), stays(&rest), "{part:?}");
        }
    }

    // Behaviours 75, 76, 77, 83.
    #[test]
    fn the_cases_of_the_list() {
        for (me, heartbeating, connected, fence) in [
            (1, &[1][..], &[1][..], false),
            (1, &[1], &[], false),
            (1, &[1, 2, 3], &[1], true),
            (1, &[1, 2, 3], &[1, 2], false),
            (2, &[1, 2, 3, 4], &[1, 2], false),
            (3, &[1, 2, 3, 4], &[3, 4], true),
            (4, &[1, 2, 3], &[4], false),
        ] {
            assert_eq!(verdict(me, heartbeating, connected).is_fence(), fence);
        }
    }

    /// Nodes 1 and 2, connected, as node `me` sees them.
    fn pair(me: u8) -> Quorum {
        let mut quorum = Quorum::new(node(me));
        for number in [1, 2] {
            assert_eq!(quorum.connection_up(node(number)), None);
            assert_eq!(quorum.heartbeat_up(node(number)), None);
        }
        assert!(quorum.holds().is_empty());
        quorum
    }

    // Behaviours 78, 79.
    #[test]
    fn of_two_nodes_without_a_link_the_lower_stays() {
        for (me, peer, fence) in [(1, 2, false), (2, 1, true)] {
            let mut quorum = pair(me);
            quorum.connection_error(node(peer));
            assert_eq!(quorum.still_up(node(peer)).map(|verdict| verdict.is_fence()), Some(fence));
        }
    }

    // Behaviour 80.
    #[test]
    fn a_node_that_dies_in_time_is_no_question() {
        let mut quorum = pair(2);
        quorum.connection_error(node(1));
        assert_eq!(quorum.heartbeat_down(node(1)), None);
        assert!(quorum.holds().is_empty());
    }

    // Behaviour 81.
    #[test]
    fn a_decision_waits_for_a_node_that_never_connected() {
        let mut quorum = pair(2);
        assert_eq!(quorum.heartbeat_up(node(3)), None);
        quorum.connection_error(node(1));
        assert_eq!(quorum.still_up(node(1)), None);
        assert!(quorum.is_pending());
        // Two of three are connected then, and node 2 stays.
        let verdict = quorum.connection_up(node(3)).expect("the last hold is gone");
        assert!(!verdict.is_fence());
        assert!(!quorum.is_pending());
    }

    // Behaviour 82.
    #[test]
    fn traffic_after_silence_answers_the_question() {
        let mut quorum = pair(2);
        quorum.connection_error(node(1));
        assert_eq!(quorum.connection_up(node(1)), None);
        assert!(quorum.holds().is_empty());
    }

    #[test]
    fn an_error_without_a_connection_is_nothing() {
        let mut quorum = pair(2);
        quorum.connection_error(node(7));
        assert_eq!(quorum.heartbeat_up(node(8)), None);
        quorum.connection_error(node(8));
        assert_eq!(quorum.holds().iter().collect::<Vec<_>>(), [node(8)]);
    }

    #[test]
    fn a_verdict_says_its_numbers() {
        assert_eq!(
            verdict(2, &[1, 2], &[2]).to_string(),
            "this node fences itself: it is connected to 1 of 2 nodes that heartbeat, itself \
             included, which is half of them, and the lowest, node 1, is not"
        );
        assert_eq!(
            verdict(1, &[1, 2, 3], &[1]).to_string(),
            "this node fences itself: it is connected to 1 of 3 nodes that heartbeat, itself \
             included, which is less than half"
        );
    }
}
