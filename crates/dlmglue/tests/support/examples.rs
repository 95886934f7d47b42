//! The examples, on three members of the stack that the file of a test gives.

macro_rules! examples {
    ($members:expr) => {
        #[test]
        fn hosts_share_a_counter() {
            assert_eq!(counter::show(&$members()).expect("it works"), 3000);
        }

        #[test]
        fn every_host_leads_once_in_a_term_of_its_own() {
            let leads = leader::show(&$members()).expect("it works");
            let mut leaders: Vec<u32> = leads.iter().map(|&(leader, _)| leader).collect();
            leaders.sort_unstable();
            assert_eq!(leaders, [1, 2, 3]);
            assert!(leads.windows(2).all(|leads| leads[0].1 < leads[1].1), "{leads:?}");
        }

        #[test]
        fn a_slow_store_is_read_once_for_each_change_and_host() {
            // Three changes, each known to the host that made it.
            assert_eq!(cache::show(&$members()).expect("it works"), 6);
        }

        #[test]
        fn a_storage_server_refuses_a_late_writer() {
            storage::show(&$members()).expect("it works");
        }
    };
}
