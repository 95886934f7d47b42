//! Group names of this host, from `/etc/group`.

use std::fs;

/// The gid of a group's name, or of a number.
pub(crate) fn gid_of(name: &str) -> Option<u32> {
    find(&read(), |group, _| group == name).map(|(_, gid)| gid).or_else(|| name.parse().ok())
}

/// The name of a group, if it has one in the file.
pub(crate) fn name_of(gid: u32) -> Option<String> {
    find(&read(), |_, number| number == gid).map(|(name, _)| name)
}

fn read() -> String {
    fs::read_to_string("/etc/group").unwrap_or_default()
}

fn find(text: &str, wanted: impl Fn(&str, u32) -> bool) -> Option<(String, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        wanted(name, gid).then(|| (name.to_owned(), gid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name_and_number_and_odd_lines_are_skipped() {
        let text = "# comment\nroot:x:0:\nbroken\nlocks:x:990:anna,ben\n";
        assert_eq!(find(text, |name, _| name == "locks"), Some(("locks".into(), 990)));
        assert_eq!(find(text, |_, gid| gid == 0), Some(("root".into(), 0)));
        assert_eq!(find(text, |name, _| name == "broken"), None);
    }

    #[test]
    fn a_number_is_a_group_too() {
        assert_eq!(gid_of("4294967294"), Some(4_294_967_294));
        assert_eq!(gid_of("no such group"), None);
    }
}
