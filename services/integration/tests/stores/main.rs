//! One conformance suite for the stores of leases, quotas and claims, run on each of
//! them. A store to come adds one `stores!` entry, and a way to make a world.
//!
//! Time stands still but for what a test lets pass.

mod claims;
mod kit;
mod leases;
mod limits;
mod quotas;
mod requests;
mod rights;
mod waiters;

/// Makes each test run on each store.
macro_rules! suite {
    ($($module:ident { $($test:ident),* $(,)? })*) => {
        mod sqlite { $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() -> anyhow::Result<()> {
                crate::$module::$test(crate::kit::World::sqlite().await?).await
            }
        )*)* }
        mod postgres { $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() -> anyhow::Result<()> {
                crate::$module::$test(crate::kit::World::postgres().await?).await
            }
        )*)* }
    };
}

suite! {
    leases {
        at_most_one_holder_under_contention,
        tokens_strictly_increase,
        an_expired_lease_frees_its_account,
        the_longest_unused_is_selected,
        a_repeat_gets_the_same_lease,
        twins_in_flight_get_one_lease,
        what_is_taken_back_never_was,
        id_and_token_are_compared,
        a_renewal_never_shortens,
        another_workspace_has_no_such_lease,
        a_revoked_lease_is_over_at_once,
        a_lease_is_known_after_a_restart,
        denials_count_accounts_by_reason,
        accounts_can_be_chosen_and_excluded,
        whom_telegram_or_the_user_stops_is_not_asked_about,
        the_budget_comes_with_the_lease,
        changes_are_seen_once,
        pages_walk_the_whole_list,
    }
    waiters {
        first_come_first_served,
        priority_goes_first,
        a_wait_ends_with_the_reasons,
        expiry_wakes_a_waiter,
        a_waiter_that_left_takes_nothing,
        who_leaves_in_the_very_moment_holds_nothing,
        a_waiter_does_not_hold_up_other_needs,
        waiting_twins_get_one_lease,
        a_changed_limit_wakes_a_waiter,
        shutdown_answers_waiters,
    }
    rights {
        known_rights_decide_and_unknown_ones_are_asked_for,
        who_is_passed_over_is_asked_for_the_next_time,
        a_refusal_waits_for_the_answers,
        answers_that_do_not_come_are_told,
        what_kept_an_account_from_answering_is_told,
        a_chat_that_nobody_knows_is_looked_for_first,
        a_name_that_stands_for_no_chat_is_told,
    }
    quotas {
        no_overshoot_under_contention,
        a_day_ends_at_midnight,
        an_hour_rolls,
        chats_have_limits_of_their_own,
        invites_are_spaced_out_and_rest,
        what_is_given_back_is_restored,
        a_newer_action_keeps_its_pace,
        limits_survive_delete_and_login,
        a_dead_process_counts,
        an_unknown_outcome_counts_until_reconciled,
        a_denial_names_the_limit,
        a_restriction_forbids_whatever_the_limits_allow,
        an_action_of_which_nobody_knows_keeps_its_place,
        a_check_reserves_nothing,
        slots_follow_the_ledger,
    }
    limits {
        the_tightest_level_counts,
        days_are_those_of_the_zone_whoever_sets_the_limits,
        changes_hold_from_the_next_action_on,
        an_old_etag_is_refused,
        bad_masks_are_refused_by_path,
        only_operators_touch_the_deployment,
        history_is_paged_and_stays_in_its_workspace,
    }
    requests {
        a_dead_process_is_followed,
        a_living_process_is_waited_for,
        who_was_taken_over_cannot_answer,
        what_is_not_in_hand_is_taken_up_at_once,
        the_past_is_told_when_it_is_over,
    }
    claims {
        a_key_has_one_holder_under_contention,
        a_holder_hears_that_its_key_is_wanted,
        a_dead_holder_is_followed,
        who_was_taken_over_finds_out,
        what_nobody_has_in_hand_is_given_back,
        a_store_that_stalls_costs_what_others_could_take,
        a_slow_renewal_is_not_cut_short,
    }
}
