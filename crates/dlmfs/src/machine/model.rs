//! Small worlds, every one of their histories: two nodes, a master, a few users. Whatever the order in
//! which calls are made and return and messages arrive, whoever loses patience when, and whichever call
//! fails: nobody holds what excludes somebody else, everybody is served or refused in the end, and nothing is
//! left behind.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::*;

/// What a user of a node does, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Plan {
    /// Opens and closes.
    Open { level: Level, noqueue: bool },
    /// The same, and may be interrupted while it waits.
    Interrupted { level: Level },
    /// Removes the file.
    Remove,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum User {
    Idle,
    Waits,
    Holds,
    Done(Option<Refusal>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Reply {
    Granted,
    Refused(Errno),
    Unlocked,
    Blocking(Level),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    machine: Machine,
    /// The call that is about to be made, and the one that has not returned.
    call: Option<Call>,
    returning: Option<Call>,
    to_master: VecDeque<Call>,
    from_master: VecDeque<Reply>,
    users: Vec<User>,
}

/// The lock that a node has with the master.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Lock {
    granted: Option<Level>,
    wants: Option<Level>,
    /// The highest level that it was told of since it was granted what it has.
    told: Option<Level>,
}

/// What a master does when two nodes go up from PR at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Deadlock {
    /// Both wait, as in o2dlm.
    Waits,
    /// The second one is refused, as in fs/dlm.
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    nodes: [Node; 2],
    locks: [Lock; 2],
    /// Who waits at the master, in the order of arrival.
    queue: Vec<usize>,
    deadlock: Deadlock,
    /// How many calls may still fail.
    failures: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Make {
        node: usize,
    },
    Return {
        node: usize,
    },
    /// Makes the call, which fails.
    Fail {
        node: usize,
    },
    Master {
        node: usize,
    },
    Deliver {
        node: usize,
    },
    Begin {
        node: usize,
        user: usize,
    },
    Interrupt {
        node: usize,
        user: usize,
    },
    Close {
        node: usize,
        user: usize,
    },
}

type Plans = [Vec<Plan>; 2];

impl World {
    fn new(plans: &Plans, deadlock: Deadlock, defect: Option<Defect>, failures: u8) -> World {
        let node = |plans: &Vec<Plan>| Node {
            machine: Machine { defect, ..Machine::new() },
            call: None,
            returning: None,
            to_master: VecDeque::new(),
            from_master: VecDeque::new(),
            users: vec![User::Idle; plans.len()],
        };
        World {
            nodes: [node(&plans[0]), node(&plans[1])],
            locks: Default::default(),
            queue: Vec::new(),
            deadlock,
            failures,
        }
    }

    fn steps(&self, plans: &Plans) -> Vec<Step> {
        let mut steps = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            steps.extend(node.call.map(|_| Step::Make { node: at }));
            steps.extend(node.returning.map(|_| Step::Return { node: at }));
            steps.extend(self.may_fail(at).then_some(Step::Fail { node: at }));
            steps.extend(node.to_master.front().map(|_| Step::Master { node: at }));
            steps.extend(node.from_master.front().map(|_| Step::Deliver { node: at }));
            for (user, state) in node.users.iter().enumerate() {
                match (state, plans[at][user]) {
                    (User::Idle, _) => steps.push(Step::Begin { node: at, user }),
                    (User::Waits, Plan::Interrupted { .. } | Plan::Remove) => {
                        steps.push(Step::Interrupt { node: at, user });
                    }
                    (User::Holds, _) => steps.push(Step::Close { node: at, user }),
                    _ => {}
                }
            }
        }
        steps
    }

    /// A cancel fails only where it comes too late.
    fn may_fail(&self, at: usize) -> bool {
        let is_decided = self.nodes[at].to_master.is_empty() && self.locks[at].wants.is_none();
        let may = |call| call != Call::Cancel || is_decided;
        self.failures > 0 && self.nodes[at].call.is_some_and(may)
    }

    fn take(&mut self, step: Step, plans: &Plans) {
        match step {
            Step::Make { node } => {
                let node = &mut self.nodes[node];
                node.returning = node.call.take();
                node.to_master.extend(node.returning);
            }
            Step::Return { node } => {
                let node = &mut self.nodes[node];
                if let Some(call) = node.returning.take() {
                    node.machine.returned(call, Ok(()));
                }
            }
            Step::Fail { node } => {
                self.failures -= 1;
                if let Some(call) = self.nodes[node].call.take() {
                    self.nodes[node].machine.returned(call, Err(Errno::ENOMEM));
                }
                if self.nodes[node].machine.is_lost() {
                    // As the locks of a daemon that died.
                    self.locks[node] = Lock::default();
                    self.grant();
                }
            }
            Step::Master { node } => {
                if let Some(call) = self.nodes[node].to_master.pop_front() {
                    self.serve(node, call);
                    self.grant();
                }
            }
            Step::Deliver { node } => self.deliver(node),
            Step::Begin { node, user } => {
                let ticket = user as Ticket;
                let machine = &mut self.nodes[node].machine;
                match plans[node][user] {
                    Plan::Open { level, noqueue } => machine.open(ticket, level, noqueue),
                    Plan::Interrupted { level } => machine.open(ticket, level, false),
                    Plan::Remove => machine.destroy(ticket),
                }
                self.nodes[node].users[user] = User::Waits;
            }
            Step::Interrupt { node, user } => {
                self.nodes[node].machine.withdraw(user as Ticket);
                self.nodes[node].users[user] = User::Done(None);
            }
            Step::Close { node, user } => {
                let level = match plans[node][user] {
                    Plan::Open { level, .. } | Plan::Interrupted { level } => level,
                    Plan::Remove => Level::NL,
                };
                self.nodes[node].machine.close(level);
                self.nodes[node].users[user] = User::Done(None);
            }
        }
        for (node, plans) in self.nodes.iter_mut().zip(plans) {
            node.run(plans);
        }
    }

    fn serve(&mut self, node: usize, call: Call) {
        let other = self.locks[1 - node].clone();
        let lock = &mut self.locks[node];
        let reply = &mut self.nodes[node].from_master;
        match call {
            Call::Lock { level, noqueue, .. } => {
                let free = other.granted.is_none_or(|held| level <= held.compatible());
                let both =
                    other.granted.is_some() && other.wants.is_some() && lock.granted.is_some();
                let first = lock.granted.is_some() || self.queue.is_empty();
                if noqueue && !(free && first) {
                    reply.push_back(Reply::Refused(Errno::EAGAIN));
                } else if both && !free && self.deadlock == Deadlock::Refused {
                    reply.push_back(Reply::Refused(Errno::EDEADLK));
                } else {
                    lock.wants = Some(level);
                    self.queue.push(node);
                }
            }
            Call::Down { to } => {
                *lock = Lock { granted: Some(to), wants: None, told: None };
                reply.push_back(Reply::Granted);
            }
            Call::Cancel => {
                // One that lost to the grant has no outcome of its own.
                if lock.wants.take().is_some() {
                    self.queue.retain(|waiting| *waiting != node);
                    reply.push_back(Reply::Unlocked);
                }
            }
            Call::Unlock => {
                *lock = Lock::default();
                reply.push_back(Reply::Unlocked);
            }
        }
    }

    /// Grants what is free, conversions before new locks, and tells those who are in the way.
    fn grant(&mut self) {
        let mut order = self.queue.clone();
        order.sort_by_key(|&node| self.locks[node].granted.is_none());
        for node in order {
            let Some(level) = self.locks[node].wants else { continue };
            let other = &mut self.locks[1 - node];
            match other.granted {
                Some(held) if level > held.compatible() => {
                    if other.told < Some(level) {
                        other.told = Some(level);
                        self.nodes[1 - node].from_master.push_back(Reply::Blocking(level));
                    }
                }
                _ => {
                    self.queue.retain(|waiting| *waiting != node);
                    self.locks[node] = Lock { granted: Some(level), wants: None, told: None };
                    self.nodes[node].from_master.push_back(Reply::Granted);
                    return self.grant();
                }
            }
        }
    }

    fn deliver(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        let machine = &mut node.machine;
        match node.from_master.pop_front() {
            Some(Reply::Granted) => machine.granted(),
            Some(Reply::Refused(errno)) => machine.failed(errno),
            Some(Reply::Unlocked) => machine.unlocked(Ok(())),
            // The status block keeps those back that are in nobody's way any more.
            Some(Reply::Blocking(level)) if machine.level > Some(level.compatible()) => {
                machine.blocked(level);
            }
            Some(Reply::Blocking(_)) | None => {}
        }
    }

    fn check(&self) {
        let [one, other] = &self.nodes;
        let (one, other) = (&one.machine, &other.machine);
        // Whoever still has a lost file open is told so.
        let is_lost = one.is_lost() || other.is_lost();
        let excluded = one.writers > 0 && other.is_held() || other.writers > 0 && one.is_held();
        assert!(!excluded || is_lost, "two nodes hold what excludes each other: {self:#?}");
        for machine in [one, other] {
            let held = if machine.writers > 0 {
                Some(Level::EX)
            } else {
                (machine.readers > 0).then_some(Level::PR)
            };
            assert!(machine.level >= held || machine.is_lost(), "held without a lock: {self:#?}");
        }
    }

    /// Whether it may end here: nothing more can happen.
    fn is_good_end(&self) -> bool {
        self.nodes.iter().zip(&self.locks).all(|(node, lock)| {
            let machine = &node.machine;
            let done = node.users.iter().all(|user| matches!(user, User::Done(_)));
            let idle = machine.operation.is_none() && !machine.calling && !machine.is_held();
            let removed = machine.teardown != Teardown::Done || lock.granted.is_none();
            done && idle && removed && lock.granted == machine.level && lock.wants.is_none()
        })
    }
}

impl Node {
    fn run(&mut self, plans: &[Plan]) {
        loop {
            let call = self.machine.step();
            for (ticket, outcome) in self.machine.take_settled() {
                let user = ticket as usize;
                assert_eq!(
                    self.users[user],
                    User::Waits,
                    "settled twice, or after it was withdrawn"
                );
                self.users[user] = match (outcome, plans[user]) {
                    (Err(refusal), _) => User::Done(Some(refusal)),
                    (Ok(()), Plan::Remove) => User::Done(None),
                    (Ok(()), _) => User::Holds,
                };
            }
            match call {
                Some(call) => self.call = Some(call),
                None => return,
            }
        }
    }
}

/// What the histories of a world came to.
#[derive(Default)]
struct Explored {
    worlds: usize,
    /// Nothing more can happen, and somebody still waits.
    stuck: Option<Box<World>>,
    /// It can go on for ever.
    endless: bool,
}

/// Every history, depth first, until one does harm. Worlds are told apart by their hash.
fn explore(plans: &Plans, deadlock: Deadlock, defect: Option<Defect>, failures: u8) -> Explored {
    let start = World::new(plans, deadlock, defect, failures);
    let first = hash(&start);
    let (mut seen, mut path) = (HashSet::from([first]), HashSet::from([first]));
    let steps = start.steps(plans);
    let mut stack = vec![(start, first, steps)];
    let mut explored = Explored::default();
    while let Some((world, own, steps)) = stack.last_mut() {
        let Some(step) = steps.pop() else {
            path.remove(own);
            stack.pop();
            continue;
        };
        let mut next = world.clone();
        next.take(step, plans);
        let hash = hash(&next);
        explored.endless |= path.contains(&hash);
        if explored.endless || explored.stuck.is_some() {
            break;
        }
        if !seen.insert(hash) {
            continue;
        }
        next.check();
        let steps = next.steps(plans);
        if steps.is_empty() && !next.is_good_end() {
            explored.stuck = Some(Box::new(next.clone()));
        }
        path.insert(hash);
        stack.push((next, hash, steps));
    }
    explored.worlds = seen.len();
    explored
}

fn hash(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

fn check_all(plans: &Plans) -> usize {
    check_with_failures(plans, 0)
}

fn check_with_failures(plans: &Plans, failures: u8) -> usize {
    [Deadlock::Waits, Deadlock::Refused]
        .map(|deadlock| {
            let explored = explore(plans, deadlock, None, failures);
            assert!(explored.stuck.is_none(), "{plans:?}: {:#?}", explored.stuck);
            assert!(!explored.endless, "{plans:?} can go on for ever");
            explored.worlds
        })
        .iter()
        .sum()
}

const OPENS: [Plan; 4] = [
    Plan::Open { level: Level::PR, noqueue: false },
    Plan::Open { level: Level::EX, noqueue: false },
    Plan::Open { level: Level::PR, noqueue: true },
    Plan::Open { level: Level::EX, noqueue: true },
];
const INTERRUPTED: [Plan; 2] =
    [Plan::Interrupted { level: Level::PR }, Plan::Interrupted { level: Level::EX }];

#[test]
fn two_users_here_and_one_there_all_get_what_they_want_or_are_told() {
    let mut worlds = 0;
    for one in OPENS {
        for two in OPENS {
            for there in OPENS {
                worlds += check_all(&[vec![one, two], vec![there]]);
            }
        }
    }
    assert!(worlds > 10_000, "{worlds} worlds");
}

#[test]
fn whoever_is_interrupted_leaves_nothing_behind() {
    for one in INTERRUPTED {
        for two in OPENS {
            for there in [OPENS[0], OPENS[1], INTERRUPTED[0], INTERRUPTED[1]] {
                check_all(&[vec![one, two], vec![there]]);
            }
        }
    }
}

#[test]
fn a_file_is_removed_with_its_lock_or_stays_with_it() {
    for here in OPENS.into_iter().chain(INTERRUPTED) {
        for there in OPENS {
            check_all(&[vec![Plan::Remove, here], vec![there]]);
            check_all(&[vec![Plan::Remove, here], vec![Plan::Remove, there]]);
        }
    }
    check_all(&[vec![Plan::Remove, Plan::Remove], vec![]]);
}

#[test]
fn two_nodes_that_both_go_up_from_pr_do_not_block_each_other() {
    let up = vec![OPENS[0], OPENS[1]];
    let worlds = check_all(&[up.clone(), up]);
    assert!(worlds > 10_000, "{worlds} worlds");
}

#[test]
fn whoever_needs_a_call_that_fails_is_told_and_nobody_waits_for_it() {
    let mut worlds = 0;
    for one in OPENS.into_iter().chain(INTERRUPTED) {
        for there in OPENS {
            for two in [OPENS[0], OPENS[1], Plan::Remove] {
                worlds += check_with_failures(&[vec![one, two], vec![there]], 2);
            }
        }
    }
    assert!(worlds > 10_000, "{worlds} worlds");
}

#[test]
fn each_defect_of_the_kernel_does_harm_in_some_world() {
    let [pr, ex, try_pr, _] = OPENS;
    for (defect, plans) in [
        (Defect::BusyAfterError, [vec![try_pr, ex], vec![ex]]),
        (Defect::NoCancel, [vec![pr, ex], vec![pr, ex]]),
    ] {
        let explored = explore(&plans, Deadlock::Waits, Some(defect), 0);
        assert!(explored.stuck.is_some() || explored.endless, "{defect:?} does no harm");
    }
}
