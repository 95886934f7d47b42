//! Leader election: whoever has the lock leads, for as long as it lives and likes.
//!
//! Nothing renews the lead and nothing expires: it ends with the guard, or with membership, and
//! then the next one in the queue leads. The term is the fencing token, so it only grows.
//!
//! `cargo run -p stackglue-dlmglue --example leader [solo|o2cb]`

mod support;

use std::error::Error;
use std::thread;

use stackglue_dlmglue::Cluster;

fn main() -> Result<(), Box<dyn Error>> {
    for (leader, term) in show(&support::members()?)? {
        println!("host {leader} led in term {term}");
    }
    Ok(())
}

/// Each member leads once; who did, in which term, in order.
pub(crate) fn show(members: &[Cluster]) -> Result<Vec<(u32, u64)>, Box<dyn Error>> {
    let leads = thread::scope(|scope| {
        let hosts: Vec<_> = members
            .iter()
            .zip(1..)
            .map(|(member, me)| {
                scope.spawn(move || {
                    let lead = member.lock("leader")?;
                    // What the others read who want to know whom to ask.
                    let leader = member.value("who leads", (0_u32, 0_u64))?;
                    let guard = lead.lock()?;
                    *leader.write()? = (me, guard.token());
                    let said = *leader.read()?;
                    Ok::<_, stackglue_dlmglue::Error>(said)
                })
            })
            .collect();
        hosts.into_iter().map(|host| host.join().expect("no host panics")).collect::<Result<_, _>>()
    });
    let mut leads: Vec<(u32, u64)> = leads?;
    leads.sort_by_key(|&(_, term)| term);
    Ok(leads)
}
