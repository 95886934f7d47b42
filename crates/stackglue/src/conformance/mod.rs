//! The behaviours that every stack has, as tests for a stack to run.
//!
//! A stack's test file says how to make a glue with the stack ready, and what the stack can do:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # fn my_plugin() -> Arc<dyn stackglue::Plugin> { unreachable!() }
//! use stackglue::conformance::{Capabilities, Setup};
//!
//! stackglue::conformance_suite!(|| Setup::new(my_plugin(), "mine", Capabilities::FULL));
//! # fn main() {}
//! ```
//!
//! That makes one test per behaviour. Where fs/dlm and o2dlm differ, a behaviour expects what the
//! stack's [`LockManager`] does; one about a mode or a flag that the stack does not have passes.

#[expect(missing_docs, reason = "a behaviour's name is its documentation")]
pub mod blocking;
#[expect(missing_docs, reason = "a behaviour's name is its documentation")]
pub mod callbacks;
pub mod cancel;
#[expect(missing_docs, reason = "a behaviour's name is its documentation")]
pub mod client;
#[expect(missing_docs, reason = "a behaviour's name is its documentation")]
pub mod connection;
#[expect(missing_docs, reason = "a behaviour's name is its documentation")]
pub mod conversion;
#[expect(missing_docs, reason = "a behaviour's name is its documentation")]
pub mod futures;
pub mod grant;
mod group;
mod setup;
#[expect(missing_docs, reason = "a behaviour's name is its documentation")]
pub mod value;

pub use setup::{Capabilities, LockManager, Setup};

/// Makes one test per behaviour, for a stack: takes a function that returns a
/// [`Setup`](crate::conformance::Setup).
#[macro_export]
macro_rules! conformance_suite {
    ($make:expr) => {
        $crate::conformance_tests! { $make;
            grant:
                every_pair_of_modes_is_granted_together_or_refused_as_published,
                a_new_lock_must_be_compatible_with_every_granted_one,
                a_free_resource_is_granted_in_any_mode,
                a_conflicting_request_waits_until_the_holder_unlocks,
                a_compatible_request_queues_behind_one_that_waits,
                a_noqueue_request_does_not_pass_one_that_waits,
                a_noorder_request_passes_those_that_wait,
                an_expedited_null_request_passes_those_that_wait,
                an_unlock_grants_the_queue_up_to_the_first_conflict,
                a_headque_request_is_granted_first,
                a_noorder_request_is_granted_although_the_one_ahead_still_waits,
                a_waiting_conversion_holds_back_new_requests,
                cancelling_the_first_waiter_lets_the_next_in,
                an_alternate_mode_is_granted_where_the_wanted_one_cannot_be,
                a_waiting_request_is_granted_its_alternate_mode_once_that_is_possible,
            ;
            conversion:
                a_null_lock_converts_to_any_mode_and_back_on_a_free_resource,
                an_up_conversion_waits_for_the_other_holder_and_keeps_its_mode,
                a_lone_holder_converts_up_ahead_of_those_that_wait,
                a_down_conversion_lets_in_whoever_it_makes_room_for,
                a_conversion_to_the_same_mode_is_granted,
                conversions_are_granted_in_the_order_of_the_queue,
                a_quecvt_conversion_waits_its_turn_and_another_one_does_not,
                a_quecvt_conversion_with_nothing_ahead_is_granted,
                quecvt_is_einval_for_all_but_the_published_pairs,
                a_queued_conversion_stays_behind_the_one_ahead_when_the_queue_is_examined,
                a_headque_conversion_is_granted_first,
                a_lock_with_something_in_flight_cannot_be_converted,
                a_failed_noqueue_conversion_keeps_the_old_mode,
                the_second_of_two_deadlocked_conversions_is_edeadlk,
                a_convdeadlk_conversion_is_demoted_instead,
                a_deadlocked_noqueue_conversion_is_eagain,
                nodlckwt_leaves_a_deadlock_to_its_victims,
                a_granted_mode_that_blocks_an_earlier_conversion_is_a_deadlock,
                a_null_lock_that_must_wait_is_no_deadlock,
                every_conversion_of_a_lone_lock_is_granted,
                middle_conversions_exclude_like_up_conversions,
                a_lone_holder_converts_up_ahead_of_an_earlier_conversion,
            ;
            value:
                a_value_travels_from_one_holder_to_the_next,
                a_grant_moves_the_value_block_as_published,
                a_value_that_was_never_written_is_not_read_or_reads_as_zeros,
                a_down_conversion_without_valblk_keeps_the_value,
                a_writer_can_mark_the_value_not_valid_on_its_way_down,
                only_a_writer_can_mark_the_value_not_valid,
                the_next_write_makes_a_value_valid_again,
                a_grant_without_valblk_says_nothing_about_validity,
                an_unlock_from_ex_writes_with_valblk_and_from_pr_does_not,
                an_unlock_without_flags_writes_if_the_last_operation_carried_the_value,
                an_unlock_can_mark_the_value_not_valid,
                the_value_goes_with_the_last_lock_and_stays_with_a_null_lock,
                a_failed_conversion_moves_no_value,
                a_waiting_conversion_reads_the_value_at_the_time_of_its_grant,
                a_concurrent_reader_gets_the_value_too,
                the_lock_of_a_dead_process_is_dropped_and_a_writers_value_is_not_trusted,
                a_persistent_lock_of_a_dead_process_stays_until_purged,
                an_orphan_is_adopted_by_name_and_mode,
                converting_up_on_a_resource_without_value_leaves_the_buffer,
                a_resource_without_value_is_not_reported_as_not_valid,
                the_last_lock_call_says_whether_a_lock_outlives_its_process,
                the_waiting_conversion_of_a_dead_process_is_taken_back,
                the_waiting_request_of_a_dead_process_is_never_granted,
            ;
            blocking:
                a_blocked_holder_is_told_the_mode_that_is_wanted,
                a_holder_hears_again_only_of_a_higher_mode,
                a_noqueue_request_disturbs_nobody,
                a_noqueue_request_with_noqueuebast_asks_the_holder_to_give_way,
                a_failing_noqueuebast_conversion_does_not_ask_itself,
                a_converting_holder_hears_of_a_noqueuebast_request,
                a_converting_holder_does_not_hear_of_a_request_that_queues,
                compatible_locks_do_not_disturb_each_other,
                a_null_holder_is_never_asked_to_give_way,
                every_holder_in_the_way_is_told,
                protected_readers_and_concurrent_writers_are_in_each_others_way,
                a_conversion_in_the_way_of_a_waiter_hears_of_it_anew,
                a_down_conversion_still_in_the_way_hears_of_the_mode_it_blocks,
                a_waiting_conversion_asks_the_others_to_give_way,
                two_waiters_of_rising_mode_give_two_blocking_callbacks_in_order,
            ;
            cancel:
                an_unlock_completes_exactly_once,
                a_second_unlock_is_an_error,
                a_waiting_request_can_be_cancelled_and_is_gone,
                a_waiting_conversion_can_be_cancelled_and_keeps_its_old_mode,
                a_conversion_after_a_cancelled_one_can_be_cancelled_too,
                cancelling_a_granted_lock_gives_no_callback_and_keeps_it,
                cancelling_after_a_cancel_that_won_is_einval,
                a_waiting_request_can_be_unlocked,
                a_converting_lock_can_be_unlocked_and_ends_once,
                flags_that_mean_nothing_in_an_unlock_call_are_einval,
                a_cancel_that_races_a_grant_gives_one_outcome,
                a_cancel_that_races_the_grant_of_a_conversion_gives_one_outcome,
            ;
            callbacks:
                the_grant_comes_before_the_blocking_callback_of_that_grant,
                a_blocking_callback_may_convert_and_a_lock_callback_unlock,
                a_status_block_serves_one_lock_after_the_other,
                a_status_block_has_one_lock_at_a_time,
                a_status_block_of_another_connection_is_einval,
                a_status_block_that_was_never_used_is_einval,
                combinations_of_flags_that_mean_nothing_are_einval,
                names_may_hold_any_byte_and_are_told_apart_by_every_one,
                tokens_grow_with_every_grant_of_a_resource,
                every_lock_can_be_seen_in_its_queue,
                the_block_of_a_refused_request_has_no_lock_and_serves_the_next,
                a_lock_whose_conversion_failed_or_was_cancelled_is_as_before,
            ;
            connection:
                a_connection_knows_its_group_its_version_and_this_node,
                two_connections_have_two_protocols,
                a_protocol_of_another_maximum_is_einval,
                an_agnostic_connection_uses_the_selected_stack,
                a_connection_that_expects_another_stack_is_ebusy,
                a_label_of_another_length_is_einval,
                a_stack_without_driver_is_enoent,
                a_group_name_has_1_to_64_bytes,
                the_selected_stack_stays_while_a_connection_is_open,
                the_attributes_name_the_stack_in_use,
                a_pending_hangup_keeps_the_stack_in_use,
                a_group_can_be_joined_again_after_it_was_left,
                a_left_connection_is_einval,
                posix_locks_are_eopnotsupp_where_the_stack_has_none,
            ;
            client:
                a_blocking_lock_waits_for_the_holder,
                a_refused_request_names_what_was_wanted,
                a_name_that_cannot_be_one_is_refused,
                a_held_lock_converts_and_says_its_mode,
                a_refused_conversion_keeps_the_mode,
                a_dropped_lock_is_unlocked_even_by_a_panic,
                a_value_is_written_through_a_held_lock,
                a_value_set_without_valblk_is_written_all_the_same,
                a_lock_that_is_not_granted_in_time_is_an_error_and_leaves_nothing,
                a_free_lock_is_granted_within_any_timeout,
                a_conversion_that_is_not_granted_in_time_keeps_the_mode,
                the_blocking_handler_finds_the_state_of_the_lock,
                the_blocking_handler_may_drop_the_lock,
                a_client_with_locks_cannot_leave,
                threads_that_lose_patience_at_random_exclude_each_other_and_leak_nothing,
            ;
            futures:
                a_future_ends_with_the_grant,
                the_outcome_wakes_the_future,
                a_refusal_comes_out_of_the_future,
                a_lock_future_that_was_never_polled_does_nothing,
                dropping_a_lock_future_takes_the_request_back,
                dropping_a_lock_future_after_the_grant_drops_the_lock,
                a_conversion_future_ends_with_the_grant,
                dropping_a_conversion_future_takes_the_conversion_back,
                dropping_a_conversion_future_after_the_grant_leaves_the_new_mode,
                a_held_lock_dropped_with_a_conversion_in_flight_is_gone,
                dropping_an_unlock_future_unlocks_polled_or_not,
                a_timer_that_is_first_takes_the_request_back,
                a_timer_that_never_ends_is_no_timer,
                futures_dropped_at_random_exclude_each_other_and_leak_nothing,
            ;
        }
    };
}

/// The tests of [`conformance_suite!`], given the names of the behaviours.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($make:expr; $($module:ident: $($behaviour:ident,)+;)+) => {
        $($(
            #[test]
            fn $behaviour() {
                $crate::conformance::$module::$behaviour(&($make)());
            }
        )+)+
    };
}

#[cfg(test)]
mod tests {
    /// The modules, and the list in the macro above.
    const SOURCES: [&str; 9] = [
        include_str!("grant.rs"),
        include_str!("conversion.rs"),
        include_str!("value.rs"),
        include_str!("blocking.rs"),
        include_str!("cancel.rs"),
        include_str!("callbacks.rs"),
        include_str!("connection.rs"),
        include_str!("client.rs"),
        include_str!("futures.rs"),
    ];

    #[test]
    fn every_behaviour_is_in_the_suite() {
        let suite = include_str!("mod.rs");
        let mut behaviours = 0;
        for line in SOURCES.iter().flat_map(|source| source.lines()) {
            if let Some(name) = line.strip_prefix("pub fn ").and_then(|line| line.split('(').next())
            {
                assert!(suite.contains(&format!("                {name},\n")), "{name} is missing");
                behaviours += 1;
            }
        }
        assert!(behaviours > 100, "only {behaviours} found");
    }
}
