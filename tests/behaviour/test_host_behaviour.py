"""What tests say of local processes, queues, locks, pools and executors holds on hosts: the same tests, another context.

Not here is what cannot hold there: what is about a start method, a fork or a descriptor; a `Popen` that is lent to
another class; pids of processes that hold something, or are the parent's children; what passes through a local
connection; how long what was sent is kept.
"""

import pytest

import behaviour.test_executor as test_executor
import behaviour.test_locks as test_locks
import behaviour.test_pool as test_pool
import behaviour.test_process as test_process
import behaviour.test_queues as test_queues
import behaviour.test_result as test_result
import polyproc

HOLD = {
    test_process: """test_target_gets_its_arguments_and_ends_with_zero test_sentinel_is_ready_at_the_end
        test_signal_ends_it test_interrupt_is_a_keyboard_interrupt test_join_waits_at_most_its_timeout
        test_many_threads_may_join_at_once test_active_children_reaps test_close_gives_back_and_forbids
        test_wrong_calls_say_what_the_standard_library_says test_names_number_the_children test_repr_shows_the_state""",
    test_result: """test_result_is_what_the_target_returned test_exception_keeps_its_type_and_its_traceback
        test_exception_that_cannot_travel_arrives_as_text test_end_without_a_result_is_never_taken_for_one
        test_result_that_cannot_be_pickled_is_an_error_of_result_alone test_timeout_is_both_timeout_errors
        test_death_by_a_fault_comes_with_stack_and_output""",
    test_queues: """test_many_producers_and_consumers test_limit_on_the_number_of_items
        test_what_a_killed_producer_had_put_is_there test_a_producer_ends_though_nobody_reads
        test_a_consumer_that_is_killed_as_it_waits_hinders_nobody test_closed_in_this_process_only""",
    test_pool: """test_calls_that_wait_for_each_other test_killed_worker_costs_its_own_task
        test_large_arguments_and_results_do_not_block test_callbacks_do_not_run_in_who_submits
        test_chunk_sizes_are_checked test_errors_are_their_calls_alone test_workers_leave_after_their_tasks
        test_workers_that_never_start_break_the_pool_with_their_error""",
    test_executor: """test_tasks_in_a_pool test_shutdown_without_waiting_does_all
        test_shutdown_cancels_what_has_not_begun test_an_initializer_that_fails_breaks_it test_workers_can_be_ended
        test_what_cannot_be_pickled_is_its_futures_error test_a_worker_that_dies_costs_its_call
        test_map_takes_as_much_as_it_may""",
}
IN_MEMORY = {
    test_locks: "test_lock_used_wrongly_raises_the_standard_librarys_errors",
    test_queues: "test_iteration_ends_with_the_queue test_shutdown_wakes_who_waits",
}


@pytest.fixture(scope="module")
def ctx(hosts):
    """A context with two nodes, in the place of a start method's."""
    return hosts


@pytest.fixture
def method():
    """Its name, in the place of a start method's."""
    return "command"


for module, names in [*HOLD.items(), *(IN_MEMORY.items() if polyproc.native else ())]:
    for name in names.split():
        globals()[f"{name}_on_hosts"] = getattr(module, name)
del module, name, names
