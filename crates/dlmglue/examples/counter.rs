//! A counter that hosts share: each adds to it as if it were its own.
//!
//! `cargo run -p stackglue-dlmglue --example counter [solo|o2cb]`

mod support;

use std::error::Error;
use std::thread;

use stackglue_dlmglue::Cluster;

fn main() -> Result<(), Box<dyn Error>> {
    let counted = show(&support::members()?)?;
    println!("counted to {counted}");
    Ok(())
}

/// Each member counts a thousand visits; the count in the end.
pub(crate) fn show(members: &[Cluster]) -> Result<u64, Box<dyn Error>> {
    thread::scope(|scope| {
        let hosts = members.iter().map(|member| {
            scope.spawn(move || {
                let visits = member.value("visits", 0_u64)?;
                for _ in 0..1000 {
                    *visits.write()? += 1;
                }
                Ok::<_, stackglue_dlmglue::Error>(())
            })
        });
        let hosts: Vec<_> = hosts.collect();
        hosts.into_iter().try_for_each(|host| host.join().expect("no host panics"))
    })?;
    Ok(*members[0].value("visits", 0_u64)?.read()?)
}
