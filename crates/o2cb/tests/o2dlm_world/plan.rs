//! What happens in a world.

use crate::rng::Rng;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: u8,
    pub(crate) names: u64,
    pub(crate) operations: u64,
    /// When the users begin, in milliseconds: joining takes its time where links are slow.
    pub(crate) begins: u64,
    /// Operations are spread over this many milliseconds.
    pub(crate) spread: u64,
    /// Nodes that are killed, and within how many milliseconds.
    pub(crate) deaths: u64,
    pub(crate) deaths_within: u64,
    /// A killed node's silence is noticed after this many milliseconds, each observer for itself.
    pub(crate) detection: (u64, u64),
    pub(crate) leaves: u64,
    /// Of a hundred dead or gone nodes, how many come back; and after how many milliseconds at least.
    pub(crate) rejoin: u64,
    pub(crate) rejoin_after: u64,
    /// Of a hundred frames, how many are slow, and how slow at most, in milliseconds.
    pub(crate) slow: (u64, u64),
    /// What every frame of one of the links takes beside, in milliseconds.
    pub(crate) slow_link: u64,
    /// Of a thousand frames of recovery, migration or membership, how many kill one of their ends
    /// (as long as there are deaths left).
    pub(crate) ambushes: u64,
    /// They know each other for nodes that take a BAST right behind an AST, as kernels do not.
    pub(crate) ours: bool,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            nodes: 3,
            names: 3,
            operations: 400,
            begins: 1000,
            spread: 3000,
            deaths: 0,
            deaths_within: 2500,
            detection: (300, 1000),
            leaves: 0,
            rejoin: 0,
            rejoin_after: 1500,
            slow: (5, 80),
            slow_link: 0,
            ambushes: 0,
            ours: false,
        }
    }
}

impl Plan {
    /// Several die, some of them while others are recovered.
    pub(crate) fn deaths() -> Plan {
        let plan = Plan { nodes: 5, names: 4, operations: 600, ..Plan::default() };
        Plan { deaths: 3, ambushes: 20, ..plan }
    }

    /// Masters die while some of what they granted is on its way, and some has arrived.
    pub(crate) fn grants_on_their_way() -> Plan {
        let plan = Plan { nodes: 4, names: 1, operations: 600, begins: 5000, ..Plan::default() };
        Plan { deaths: 2, deaths_within: 150, detection: (20, 450), slow: (40, 100), ..plan }
    }

    /// Some leave, and hand over what they master.
    pub(crate) fn departures() -> Plan {
        Plan { nodes: 4, names: 4, operations: 500, leaves: 2, ..Plan::default() }
    }

    /// Some leave, some die, most come back.
    pub(crate) fn comings_and_goings() -> Plan {
        let plan = Plan { nodes: 5, names: 4, operations: 800, ..Plan::default() };
        Plan { deaths: 2, leaves: 2, rejoin: 70, ..plan }
    }

    /// Each seed another world.
    pub(crate) fn any(seed: u64) -> Plan {
        let mut rng = Rng::new(seed ^ 0x00A1_1F0E);
        let mut pick = |values: &[u64]| values[rng.below(values.len() as u64) as usize];
        let detection_min = pick(&[1, 50, 300]);
        Plan {
            nodes: pick(&[2, 3, 3, 4, 5, 6, 8]) as u8,
            names: pick(&[1, 2, 4, 12]),
            operations: pick(&[100, 300, 600]),
            spread: pick(&[600, 3000, 20_000]),
            deaths: pick(&[0, 1, 2, 3, 4]),
            deaths_within: pick(&[50, 400, 2500]),
            detection: (detection_min, detection_min + pick(&[20, 300, 2000])),
            leaves: pick(&[0, 0, 1, 2, 4]),
            rejoin: pick(&[0, 50, 100]),
            rejoin_after: pick(&[10, 1500]),
            slow: (pick(&[0, 5, 30]), pick(&[20, 80, 400])),
            slow_link: pick(&[0, 0, 30, 200]),
            ambushes: pick(&[0, 0, 5, 40]),
            begins: 1000,
            ours: false,
        }
    }
}
