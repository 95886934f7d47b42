use super::*;

/// A history from `NODE: log`, the log's lines separated by `;`. Times are milliseconds. `NODE@JOINED`
/// and `NODE@JOINED+KILLED` for those that come later, and those that die.
fn history(lives: &[&str]) -> History {
    let mut history = History::default();
    for life in lives {
        let (head, log) = life.split_once(':').expect("a head");
        let (node, times) = head.split_once('@').unwrap_or((head, "0"));
        let (joined, killed) = times.split_once('+').map_or((times, None), |(a, b)| (a, Some(b)));
        let time = |text: &str| milliseconds(text.parse().expect("a time"));
        let mut life = Life::new(node.parse().expect("a node"), time(joined));
        life.death = killed.map(|killed| Death { from: time(killed), by: time(killed) });
        life.read(&log.replace(';', "\n"), milliseconds).expect("steps");
        history.add(life);
    }
    history
}

fn milliseconds(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// The kinds of what is found.
fn found(lives: &[&str]) -> String {
    let kinds = history(lives).violations().into_iter().map(|violation| match violation {
        Violation::Together { .. } => "together",
        Violation::Value { .. } => "value",
        Violation::Ghost { .. } => "ghost",
        Violation::Unanswered { .. } => "unanswered",
    });
    kinds.collect::<Vec<_>>().join(" ")
}

const WRITTEN: &str = "1: 1 ask a n ex; 2 got a -; 5 put a; 6 let a";

#[test]
fn holders_follow_each_other() {
    let reads = "2: 1 ask b n pr; 6 got b a; 9 put b; 9 let b";
    let beside = "3: 1 ask c n pr; 7 got c a; 8 put c; 9 let c";
    let next = "1: 7 ask d n ex; 10 got d a; 11 put d; 12 let d";
    assert_eq!(found(&[WRITTEN, reads, beside, next]), "");
}

#[test]
fn ex_excludes_ex_and_pr_on_the_same_name_only() {
    for (mode, name, value, expected) in
        [("ex", "n", "a", "together"), ("pr", "n", "a", "together"), ("ex", "m", "-", "")]
    {
        let other = format!("2: 1 ask b {name} {mode}; 4 got b {value}; 9 put b; 9 let b");
        assert_eq!(found(&[WRITTEN, &other]), expected, "{mode} {name}");
    }
}

#[test]
fn a_reader_excludes_a_writer_that_comes_while_others_have_come_and_gone() {
    let long = "1: 1 ask a n pr; 2 got a -; 9 put a; 9 let a";
    let short = "2: 1 ask b n pr; 3 got b -; 4 put b; 4 let b";
    let writer = "3: 1 ask c n ex; 6 got c -; 7 put c; 7 let c";
    assert_eq!(found(&[long, short, writer]), "together");
}

#[test]
fn whoever_is_killed_holds_nothing_any_more() {
    let other = "2: 1 ask b n ex; 8 got b -; 9 put b; 9 let b";
    assert_eq!(found(&["1@0+7: 1 ask a n ex; 2 got a -", other]), "");
    assert_eq!(found(&["1@0+9: 1 ask a n ex; 2 got a -", other]), "together");
}

#[test]
fn a_value_is_the_last_one_written_and_not_one_before() {
    let second = "2: 6 ask b n ex; 7 got b a; 8 put b; 8 let b";
    for (value, expected) in [("b", ""), ("a", "value"), ("-", "value"), ("x", "value")] {
        let read = format!("3: 8 ask c n pr; 9 got c {value}; 10 put c; 10 let c");
        assert_eq!(found(&[WRITTEN, second, &read]), expected, "{value}");
    }
}

#[test]
fn a_lost_update_is_seen_even_if_nobody_is_seen_to_hold_together() {
    let other = "2: 6 ask b n ex; 7 got b -; 8 put b; 8 let b";
    assert_eq!(found(&[WRITTEN, other]), "value");
}

#[test]
fn a_value_may_be_lost_with_a_node_that_dies_once() {
    let dies = "3@0+10:";
    let lost = "2: 6 ask b n pr; 12 got b -; 13 put b; 13 let b";
    assert_eq!(found(&[WRITTEN, dies, lost]), "");
    assert_eq!(found(&[WRITTEN, "3@0+20:", lost]), "value", "nobody has died yet");
    assert_eq!(found(&[WRITTEN, "3@0+1:", "3@1:", lost]), "value", "all had recovered");
    let wrong = "2: 6 ask b n pr; 12 got b x; 13 put b; 13 let b";
    assert_eq!(found(&[WRITTEN, dies, wrong]), "value", "neither zeros nor the value");
    let again = "1: 14 ask c n ex; 15 got c -; 16 put c; 16 let c";
    let twice = "2: 17 ask d n pr; 18 got d -; 19 put d; 19 let d";
    assert_eq!(found(&[WRITTEN, dies, lost, again, twice]), "value", "it died only once");
    let back = "1: 14 ask c n pr; 15 got c a; 16 put c; 16 let c";
    assert_eq!(found(&[WRITTEN, dies, lost, back]), "value", "what is lost stays lost");
}

#[test]
fn a_writer_that_dies_letting_go_has_written_or_lost_the_value() {
    let first = "2: 1 ask z n ex; 2 got z -; 3 put z; 3 let z";
    let dies = "1@0+9: 4 ask a n ex; 5 got a z; 8 put a";
    for (value, expected) in [("a", ""), ("-", ""), ("z", "value")] {
        let read = format!("3: 10 ask c n pr; 11 got c {value}; 12 put c; 12 let c");
        assert_eq!(found(&[first, dies, &read]), expected, "{value}");
    }
}

#[test]
fn a_writer_that_dies_before_it_lets_go_takes_the_value_along() {
    let dies = "1@0+9: 1 ask a n ex; 2 got a -";
    for (value, expected) in [("-", ""), ("a", "value")] {
        let read = format!("3: 10 ask c n pr; 11 got c {value}; 12 put c; 12 let c");
        assert_eq!(found(&[dies, &read]), expected, "{value}");
    }
}

#[test]
fn the_dead_do_nothing() {
    assert_eq!(found(&["1@0+9: 1 ask a n ex; 10 got a -"]), "ghost");
    assert_eq!(found(&["1@0+9: 1 ask a n ex; 9 got a -"]), "");
}

#[test]
fn whoever_lives_is_answered() {
    for (log, expected) in [
        ("1 ask a n ex", "unanswered"),
        ("1 ask a n ex; 2 got a -", "unanswered"),
        ("1 ask a n ex; 2 got a -; 3 put a", "unanswered"),
        ("1 ask a n ex; 2 refused a", ""),
    ] {
        assert_eq!(found(&[&format!("1: {log}")]), expected, "{log}");
        assert_eq!(found(&[&format!("1@0+4: {log}")]), "", "{log}, and dies");
    }
}

#[test]
fn a_log_that_makes_no_sense_is_refused() {
    for log in [
        "nonsense",
        "x ask a n ex",
        "1 ask a n cw",
        "1 ask a n",
        "1 got a -",
        "1 ask a n ex\n1 ask a n ex",
        "1 ask a n ex\n2 put a",
        "1 ask a n ex\n2 got a -\n3 let a",
        "1 ask a n ex\n2 refused a\n3 got a -",
        "1 ask a n ex\n2 got a -\n3 put a\n4 put a",
    ] {
        assert!(Life::new(1, Duration::ZERO).read(log, milliseconds).is_err(), "{log}");
    }
}
