//! Several domains' engines in one thread, under virtual time: messages are late, nodes die, leave
//! and join, and everything that must hold is judged where the locks are held.

mod client;
mod faults;
mod frames;
mod invariants;
mod plan;
mod rng;
mod users;
mod world;

use plan::Plan;
use world::World;

/// Runs the first seeds of a plan: `SEEDS=n` for more of them, `FROM=n` for others, `SEED=n` for one,
/// `TRACE=1` to see each event.
fn run(count: u64, plan: impl Fn(u64) -> Plan) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let from = number("FROM").unwrap_or(0);
    let seeds = from..from + number("SEEDS").unwrap_or(count);
    for seed in number("SEED").map_or(seeds, |seed| seed..seed + 1) {
        World::new(seed, plan(seed)).run();
    }
}

#[test]
fn nodes_that_contend_exclude_each_other_and_every_request_ends() {
    run(60, |_| Plan::default());
}

#[test]
fn two_nodes_and_one_name() {
    run(80, |_| Plan { nodes: 2, names: 1, operations: 300, ..Plan::default() });
}

#[test]
fn names_come_and_go() {
    let plan = Plan { nodes: 4, names: 40, operations: 600, ..Plan::default() };
    run(40, |_| Plan { spread: 60_000, ..plan });
}

#[test]
fn a_dead_node_is_recovered_and_the_others_go_on() {
    run(80, |_| Plan { deaths: 1, ..Plan::default() });
}

#[test]
fn a_master_dies_with_grants_on_their_way() {
    run(150, |_| Plan::grants_on_their_way());
}

#[test]
fn nodes_join_while_names_are_looked_for() {
    let plan = Plan { nodes: 4, names: 300, operations: 500, ..Plan::default() };
    run(60, |_| Plan { leaves: 8, rejoin: 100, rejoin_after: 1, slow: (30, 60), ..plan });
}

#[test]
fn deaths_during_recovery_are_recovered_too() {
    run(80, |_| Plan::deaths());
}

#[test]
fn nodes_leave_and_hand_over_what_they_master() {
    run(100, |_| Plan::departures());
}

#[test]
fn nodes_leave_die_and_come_back() {
    run(80, |_| Plan::comings_and_goings());
}

#[test]
fn anything_may_happen() {
    run(120, Plan::any);
}

#[test]
fn anything_may_happen_among_nodes_of_ours() {
    run(60, |seed| Plan { ours: true, ..Plan::any(seed) });
}

/// Worlds in which something went wrong once.
#[test]
fn what_went_wrong_once_does_not_again() {
    type Made = fn(u64) -> Plan;
    let deaths: Made = |_| Plan::deaths();
    let comings: Made = |_| Plan::comings_and_goings();
    let leaves: Made = |_| Plan::departures();
    let grants: Made = |_| Plan::grants_on_their_way();
    for (plan, seed, _why) in [
        (
            grants,
            4919,
            "a lock was granted on the strength of a conversion that its node never heard of",
        ),
        (deaths, 328, "a recovery master died when it had told only some that it was done"),
        (deaths, 445, "the end of one recovery freed what another dead node had held"),
        (deaths, 897, "a lock on $RECOVERY outlived the owner that knew of it"),
        (deaths, 1717, "a master died after it had agreed to clean up after a search"),
        (comings, 125, "a node died while a resource moved to it"),
        (comings, 296, "a resource moved on while a member asked whose it was"),
        (comings, 320, "a lock of a second dead node was not among those collected"),
        (comings, 596, "a lost message of an earlier recovery stopped the next"),
        (comings, 1723, "a master asserted while its resource moved"),
        (comings, 2570, "a resource stayed, and some who knew that it moved heard so too early"),
        (comings, 5601, "a reference was dropped at a node that had just died"),
        (Plan::any as Made, 481, "recovery went on without a node that was only out of reach"),
        (Plan::any, 1731, "a vote began anew and forgot whom it had asked"),
        (Plan::any, 2641, "a lock of a dead node came with a migration"),
        (comings, 7723, "a recovery master said that it owns what it collects"),
        (Plan::any, 7418, "a clean-up was forgotten at the end of a migration"),
        (deaths, 11446, "a master granted itself what a lost conversion had given up"),
        (deaths, 8125, "a lock whose conversion was lost was kept in its higher mode"),
        (comings, 10365, "a conversion came again to the master that it had moved to"),
        (Plan::any, 9185, "a join was taken back at a member that had died and come back"),
        (Plan::any, 9706, "a dead master's last grant came when its locks had a new one"),
        (Plan::any, 6428, "a clean-up was owed for ever after $RECOVERY had lost its owner"),
        (comings, 12762, "a reference was being dropped at a node that died before it owned it"),
        (
            Plan::any,
            12029,
            "a recovery ended while a member waited for a name to move away from the dead",
        ),
        (leaves, 29153, "a local holder heard that it was in the way before it heard of its grant"),
        (comings, 20427, "a cancel was repeated at a master that had never known the lock"),
        (comings, 20512, "the lost answer of a dead target ended the next migration"),
        (comings, 22479, "a master had forgotten a name that a member took for its own"),
        (
            comings,
            28910,
            "a target whose answer was lost had told others that the name was its own",
        ),
        (Plan::any, 26293, "an unlock died with a master that had handed the lock over"),
        (Plan::any, 42605, "who looked for a name while it moved did not know from where"),
        (Plan::any, 51887, "a joiner introduced itself to a member that had died and come back"),
        (Plan::any, 59648, "a master that was found by asking had not counted who asked"),
        (comings, 60000, "a master cleaned up a name that others took for one that was moving"),
        (comings, 62221, "a master that had forgotten a name left"),
        (Plan::any, 69132, "who owed a clean-up became the master itself, and forgot it"),
        (comings, 44504, "the lost answer of a dead owner ended a drop at the next"),
        (comings, 31040, "a master had forgotten a name, and another became its master"),
        (comings, 23712, "one of two dead masters of a name died while it was asked about"),
        (Plan::any, 20970, "a name was dropped that an operation was about to use after recovery"),
    ] {
        World::new(seed, plan(seed)).run();
    }
}
