"""The scheduler of pools against a model: every event in every state, in any order."""

import collections
import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from polyproc._scheduling import actions as act
from polyproc._scheduling.actions import ResolvedOptions
from polyproc._scheduling.assignments import DONE, DOOMED, MAX_TASKS, Batch, QueuedTask
from polyproc._scheduling.deaths_and_deadlines import CLOSING, ENDED, TERMINATING, StaffingConfig
from polyproc._scheduling.scheduler import Scheduler


class Died(Exception):
    pass


class Worker:
    """A worker as it is: what is in its queue, what it runs, what it has said and the pool has not heard."""

    def __init__(self):
        self.queue = collections.deque()
        self.running = None
        self.begun = 0  # chunks of the batch that it runs
        self.split = False
        self.sent = collections.deque()
        self.is_ready = self.is_told_to_end = self.is_dying = False
        self.is_in_the_way = False  # stopped as it takes a task: none can be taken back
        self.was_in_the_way = False
        self.holds_at = 0  # the place at which it waits until the pool has taken note


class Model:
    """A pool without processes: it performs a scheduler's actions, and notes what comes of each call."""

    def __init__(self, size=2, max_tasks=None, max_behind=MAX_TASKS, can_kill=True, **config):
        self.now = 1.0
        self.can_kill = can_kill
        self.scheduler = Scheduler(StaffingConfig(size, **config), max_tasks, max_behind, can_kill)
        self.can_take_back = max_behind > 1 or not can_kill
        self.workers = {}
        self.outcomes = {}  # (job, chunk): kinds
        self.expected = {}
        self.begun = collections.Counter()
        self.may_be_cancelled, self.may_time_out = set(), set()
        self.sources = {}
        self.callers = {}  # of workers that are lent: the task whose caller hears the answer
        self.has_ended = False
        self.perform(self.scheduler.tick(self.now))  # the workers that are there from the start
        self.perform(self.scheduler.resized(size, self.now))

    # -- what the pool asks for ---------------------------------------------------------------------------------

    def perform(self, actions):
        for number, action in enumerate(actions):
            assert not self.has_ended, action
            assert number < 5000, "one event asks for ever more"
            name = type(action).__name__
            more = getattr(self, "on_" + name)(action)
            actions += more or []
        scheduler = self.scheduler
        if scheduler.state < TERMINATING and not scheduler.waits_for_more:
            assert not (scheduler.assignments.idle and scheduler.assignments.pending.count), "idle beside work"
        assert self.has_ended == (scheduler.state == ENDED)

    def on_StartWorkers(self, action):
        for id in action.workers:
            assert id not in self.workers
            self.workers[id] = Worker()

    def on_Send(self, action):
        worker = self.workers[action.worker]
        assert worker.is_ready and not worker.is_told_to_end and not worker.is_dying
        assert self.scheduler.state < TERMINATING
        worker.queue.append((action.place, action.task))
        self.callers.pop(action.worker, None)

    def on_SendAll(self, action):
        assert len(action.tasks) > 1
        for place, task in action.tasks:
            self.on_Send(act.Send(action.worker, place, task))

    def on_TakeBack(self, action):
        worker, places = self.workers[action.worker], []
        if not self.can_take_back and self.can_kill:  # over a pipe
            return self.scheduler.taken_back(action, [], False, self.now)
        if self.can_take_back and not worker.is_in_the_way:
            while worker.queue and len(places) < action.most:
                places.append(worker.queue.popleft()[0])
        return self.scheduler.taken_back(action, places, bool(worker.queue), self.now)

    def on_SplitBatch(self, action):
        worker = self.workers[action.worker]
        is_there = worker.running is not None and worker.running[0] == action.place
        if is_there:
            worker.split = True
        return self.scheduler.batch_split(action.worker, action.place, worker.begun if is_there else None, self.now)

    def on_Interrupt(self, action):
        assert self.can_kill
        self.workers[action.worker].holds_at = action.place

    def on_ClearInterrupt(self, action):
        self.workers[action.worker].holds_at = 0

    def on_Kill(self, action):
        assert self.can_kill
        self.workers[action.worker].is_dying = True
        self.callers.pop(action.worker, None)

    def on_Dismiss(self, action):
        worker = self.workers[action.worker]
        assert not worker.is_told_to_end
        worker.is_told_to_end = True

    def on_Settle(self, action):
        key = action.job, action.chunk
        assert key in self.expected
        assert key not in self.outcomes, "an outcome twice"
        self.outcomes[key] = action.kind
        if action.kind in (act.CANCELLED, act.WITHDRAWN):
            assert key in self.may_be_cancelled
        if action.kind == act.TIMED_OUT:
            assert key in self.may_time_out
        if action.kind == act.TERMINATED:
            assert self.scheduler.state >= CLOSING

    def on_SettleAll(self, action):
        for chunk, (success, value) in enumerate(action.outcomes, action.first):
            self.on_Settle(act.Settle(action.job, chunk, act.VALUE if success else act.ERROR, value))

    def on_SettleEach(self, action):
        for job, chunk, value in action.values:
            self.on_Settle(act.Settle(job, chunk, act.VALUE, value))

    def on_Pull(self, action):
        self.sources[action.source]["most"] = action.most

    def on_Stop(self, action):
        source = self.sources[action.source]
        assert not source["stopped"], "one end for each source"
        assert source["sent"] == action.sent
        source["stopped"] = True

    def on_Ended(self, action):
        assert not self.workers, "the end beside workers"
        self.has_ended = True

    # -- what happens -------------------------------------------------------------------------------------------

    def submit(self, count, options, size=0, source=None):
        """Submit tasks of a new job; batches of `size` chunks. Return them."""
        job, tasks = (object() if source is None else source), []
        first = 0 if source is None else self.sources[source]["sent"]
        for _ in range(count):
            batch = Batch(b"", 0, 0, size, b"") if size else None
            tasks.append(QueuedTask(job, first, None, "batch" if size else options.name, options.given, batch))
            for chunk in range(first, first + max(size, 1)):
                if source is None or not self.sources[source]["stopped"]:
                    self.expected[job, chunk] = options.given.retries
                if options.given.timeout:
                    self.may_time_out.add((job, chunk))
            first += max(size, 1)
        if source is None:
            self.perform(self.scheduler.submitted(tasks, self.now))
        else:
            if not self.sources[source]["stopped"]:
                self.sources[source]["sent"] = first
            self.perform(self.scheduler.submitted(tasks, self.now, source, first))
        return tasks

    def call(self, options):
        """Take a call whose caller waits for it; return its task."""
        task = QueuedTask(object(), 0, None, options.name, options.given)
        self.expected[task.job, 0] = options.given.retries
        if options.given.timeout:
            self.may_time_out.add((task.job, 0))
        others = len(self.scheduler.open)
        sent = self.scheduler.called(task, self.now)
        if sent is None:
            assert task not in self.scheduler.open
            self.perform(self.scheduler.submitted([task], self.now))
            return task
        assert not others, "beside others, whose answers are to be heard"
        assert not self.workers[sent.worker].queue and not self.workers[sent.worker].running
        self.perform([sent])
        self.callers[sent.worker] = task
        return task

    def step(self, id, fails=False, takes=0.0):
        """Let a worker do the next thing that it can do."""
        worker = self.workers[id]
        if worker.is_dying or not worker.is_ready:
            return
        if worker.running is None:
            worker.is_in_the_way = False
            if worker.queue:
                self.begin(worker, *worker.queue.popleft())
            elif worker.is_told_to_end and not worker.holds_at:
                worker.is_dying = True
            return
        place, task = worker.running
        if task.batch is not None and worker.begun < task.batch.stop - task.batch.start and not worker.split:
            self.begun[task.job, task.index + worker.begun] += 1
            worker.begun += 1
            if not fails:
                return
        count = worker.begun if task.batch is not None else 1
        worker.sent.append([(not fails, OSError("failed") if fails else "value")] * count)
        worker.running = None
        if worker.holds_at != place:
            worker.holds_at = 0

    def begin(self, worker, place, task):
        if self.scheduler.state < TERMINATING and self.can_take_back and not worker.was_in_the_way:
            assert task.state != DONE, "a call begins that was cancelled"
        worker.running, worker.begun, worker.split = (place, task), 0, False
        if task.batch is None:
            self.begun[task.job, task.index] += 1
            assert self.begun[task.job, task.index] <= task.options.retries + 1, "a call runs again"

    def hear(self, id, more=False, took=0.0001):
        """Hear a worker's next answer; with `more`, there is another message behind it, whatever it is."""
        worker = self.workers[id]
        if worker.sent:
            outcomes = worker.sent.popleft()
            called = self.callers.pop(id, None)
            if called is not None and outcomes[0][0] and not more:
                others, key = len(self.scheduler.open) - 1, (called.job, 0)
                if self.scheduler.returned(called, took):
                    assert not others, "beside others, which may want its worker"
                    self.on_Settle(act.Settle(*key, act.VALUE))
                    assert called not in self.scheduler.open
                    return
            self.perform(self.scheduler.answered(id, outcomes, self.now, took, more))

    def hear_values(self, ids, more, took):
        """Hear in one event what these workers, in this order, have said of calls that have not failed."""
        answers = []
        for id in ids:
            sent = self.workers[id].sent
            if sent and len(sent[0]) == 1 and sent[0][0][0]:
                answers.append((id, sent.popleft()[0][1], took))
        if answers:
            self.perform(self.scheduler.answered_each(answers, self.now, more))

    def hear_all(self):
        for id in list(self.workers):
            while id in self.workers and self.workers[id].sent:
                self.hear(id)
        self.perform(self.scheduler.all_heard(self.now))

    def start(self, id, how):
        worker = self.workers[id]
        if worker.is_ready:
            return
        if how == "refused" and not worker.is_dying:
            del self.workers[id]
            self.perform(self.scheduler.worker_failed_to_start(id, OSError("no room"), self.now))
        elif how == "fails" or worker.is_dying:
            del self.workers[id]
            self.perform(self.scheduler.worker_ended(id, [], ValueError("initializer"), self.now))
        else:
            worker.is_ready = True
            self.perform(self.scheduler.worker_ready(id, self.now))

    def end(self, id):
        """Let a worker's end be seen, after all that it has said."""
        while self.workers[id].sent:
            self.hear(id)
        worker = self.workers.pop(id)
        untaken = [place for place, _ in worker.queue] if self.can_take_back else None
        self.perform(self.scheduler.worker_ended(id, untaken, Died(), self.now, was_killed=True))

    def tick(self, seconds):
        self.hear_all()
        self.now += seconds
        self.perform(self.scheduler.tick(self.now))
        self.perform(self.scheduler.tick(self.now))
        assert self.scheduler.next_tick() > self.now, "a tick that changes nothing"

    def cancel(self, tasks):
        for task in tasks:
            self.may_be_cancelled |= {(task.job, chunk) for chunk in range(task.index, task.index + task.count)}

    def check_sums(self):
        assignments = self.scheduler.assignments
        workers = assignments.workers.values()
        assert assignments._behind == sum(max(len(worker.tasks) - 1, 0) for worker in workers)
        assert assignments._batches == sum(task.batch is not None for w in workers for _, task in w.tasks)
        assert assignments.pending.count == len(list(assignments.pending))
        for worker in workers:
            if self.scheduler.lent is not None and worker is self.scheduler.lent.worker and not worker.tasks:
                assert (worker.chunks, worker.untaken) == (1, 1)  # as for the next call, until another event
                assert worker not in assignments.idle
                continue
            assert worker.chunks == sum(task.count for _, task in worker.tasks)
            assert worker.load == pytest.approx(sum(task.load for _, task in worker.tasks), abs=1e-9)
            assert worker.untaken <= len(worker.tasks)
            in_queue = [place for place, _ in self.workers[worker.id].queue]
            assert len(in_queue) <= worker.untaken or not self.can_take_back or worker.state is DOOMED

    def check_nothing_is_left_behind(self):
        """While a worker has nothing, what another has not begun is looked at again, soon."""
        scheduler = self.scheduler
        if scheduler.state >= TERMINATING or not scheduler.assignments.idle or not self.can_take_back:
            return
        for worker in self.workers.values():
            task = worker.running and worker.running[1]
            has_more = len(worker.queue) + (task is not None) > 1
            if task is not None and task.batch is not None and not worker.split:
                has_more |= max(worker.begun, 1) < task.count  # it is about to begin the first
            if has_more and not worker.is_dying:
                assert scheduler.next_tick() <= self.now + 0.01, "left behind"

    def stuck_worker(self):
        """Return a worker that is in a call, for others to do without it; None if there are no others."""
        stays = [id for id, worker in self.workers.items() if worker.is_ready and not worker.is_told_to_end]
        for id in stays:
            worker = self.workers[id]
            task = worker.running and worker.running[1]
            if task is not None and (task.batch is None or worker.begun) and len(stays) > 1:
                return id
        return None

    def check_others_do_the_rest(self, stuck):
        """A call that does not end keeps no other from being run, as long as there is another worker."""
        worker = self.workers[stuck]
        _, task = worker.running
        for _ in range(40 * (len(self.expected) + 10)):
            has_all = task.batch is None or worker.split or worker.begun == task.count
            if stuck not in self.workers or (has_all and all(other is task for other in self.scheduler.open)):
                return
            self.round({stuck})
        assert not [vars(worker) for worker in self.workers.values()], "a call waits for another that does not end"

    def round(self, stuck=frozenset()):
        """Let each worker do something, but for those that are stuck, and then what is due."""
        for id in list(self.workers):
            worker = self.workers.get(id)
            if worker is None:
                continue
            if worker.is_dying and worker.is_ready:
                self.end(id)
            elif not worker.is_ready:
                self.start(id, "starts")
            elif id not in stuck:
                self.step(id)
                if id in self.workers:
                    self.hear(id)
        if self.scheduler.next_tick() < float("inf") and not self.has_ended:
            self.tick(max(self.scheduler.next_tick() - self.now, 0.0))

    def finish(self, terminate):
        """Reach the end: in a bounded number of events."""
        self.perform(self.scheduler.closing(self.now))
        if terminate:
            self.perform(self.scheduler.terminating(self.now))
        for source, state in self.sources.items():
            if not state["stopped"]:
                self.perform(self.scheduler.source_ended(source, state["sent"], self.now))
        assert all(state["stopped"] for state in self.sources.values()), "each reader is told how many there are"
        bound = 20 * (len(self.expected) + len(self.workers) + 10) * 4
        for _ in range(bound):
            if self.has_ended:
                break
            self.round()
        assert self.has_ended, (
            "no end",
            [vars(worker) for worker in self.workers.values()],
            self.scheduler.next_tick(),
        )
        assert set(self.outcomes) == set(self.expected)
        assert not self.scheduler.open


class Options:
    """What a call asks for, and the name of its function."""

    def __init__(self, name, given):
        self.name, self.given = name, given


OPTIONS = st.builds(
    Options,
    st.sampled_from(["short", "long"]),
    st.builds(
        ResolvedOptions,
        timeout=st.sampled_from([None, None, 0.5]),
        grace=st.sampled_from([0.0, 0.3]),
        retries=st.integers(0, 2),
        retry_on=st.sampled_from([(), OSError, (Died, OSError)]),
        priority=st.integers(-1, 1),
        retries_timeouts=st.booleans(),
    ),
)
CONFIG = st.fixed_dictionaries(
    {
        "size": st.integers(1, 3),
        "max_tasks": st.none() | st.integers(1, 3),
        "max_behind": st.sampled_from([1, MAX_TASKS]),
    },
    optional={
        "on_demand": st.booleans(),
        "starts_together": st.booleans(),
        "idle_timeout": st.sampled_from([None, 0.2]),
        "can_kill": st.booleans(),
    },
)
WHICH = st.integers(0, 7)


class Machine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.model = None
        self.tasks = []
        self.is_calm = False

    @precondition(lambda self: self.model is None)
    @rule(config=CONFIG)
    def begin(self, config):
        if not config.get("can_kill", True):
            config["max_behind"] = 1
        self.model = Model(**config)

    @precondition(lambda self: self.model is None)
    @rule(size=st.integers(2, 3))
    def begin_calmly(self, size):
        """Workers come and stay: what happens is that calls are submitted, begun and answered."""
        self.is_calm = True
        self.model = Model(size)
        for id in list(self.model.workers):
            self.model.start(id, "starts")

    @precondition(lambda self: self.model is not None and self.model.has_ended)
    @rule()
    def submit_after_the_end(self):
        task = QueuedTask("late", 0, None, "", ResolvedOptions())
        assert [type(action) for action in self.model.scheduler.submitted([task], self.model.now)] == [act.Settle]

    def pick(self, which, can=lambda worker: True):
        """Return one of the workers that can do something; of all, if none can."""
        workers = self.model.workers
        ids = sorted(id for id in workers if can(workers[id])) or sorted(workers)
        return ids[which % len(ids)] if ids else None

    def source(self, which):
        sources = [source for source, state in self.model.sources.items() if not state["stopped"]]
        return sources[which % len(sources)] if sources else None

    there = precondition(lambda self: self.model is not None and not self.model.has_ended)
    wild = precondition(lambda self: self.model is not None and not self.model.has_ended and not self.is_calm)

    @there
    @rule(count=st.integers(1, 8), options=OPTIONS, size=st.sampled_from([0, 0, 0, 3]))
    def submit(self, count, options, size):
        if self.is_calm:
            if len(self.model.scheduler.open) > 4:  # workers that always have enough are no news
                return
            options = Options(options.name, ResolvedOptions())
        if size and (self.model.scheduler.assignments.batch_size(1000, "x") < 1 or options.given.are_for_one):
            size = 0
        self.tasks += self.model.submit(count, options, size)

    @there
    @rule(options=OPTIONS)
    def call(self, options):
        self.tasks.append(self.model.call(Options(options.name, ResolvedOptions()) if self.is_calm else options))

    @there
    @rule(which=WHICH, fails=st.booleans(), steps=st.integers(1, 4))
    def work(self, which, fails, steps):
        for _ in range(steps):
            id = self.pick(which, lambda worker: worker.is_ready and (worker.queue or worker.running))
            if id is not None:
                self.model.step(id, fails)

    @there
    @rule(which=WHICH, more=st.sampled_from(["no", "answers", "a note"]), took=st.sampled_from([1e-5, 1e-4, 3e-3]))
    def hear(self, which, more, took):
        id = self.pick(which, lambda worker: worker.sent)
        if id is not None:
            self.model.hear(id, more != "no", took)
            if more == "answers":
                self.model.hear_all()
            elif more == "a note":
                self.model.perform(self.model.scheduler.all_heard(self.model.now))

    @there
    @rule(
        which=st.lists(WHICH, min_size=1, max_size=8),
        more=st.sampled_from(["no", "answers", "a note"]),
        took=st.sampled_from([1e-5, 1e-4, 3e-3]),
    )
    def hear_values(self, which, more, took):
        ids = [self.pick(one, lambda worker: worker.sent) for one in which]
        self.model.hear_values([id for id in ids if id is not None], more != "no", took)
        if more == "answers":
            self.model.hear_all()
        elif more == "a note":
            self.model.perform(self.model.scheduler.all_heard(self.model.now))

    @wild
    @rule(which=WHICH, how=st.sampled_from(["starts", "starts", "starts", "fails", "refused"]))
    def start(self, which, how):
        id = self.pick(which)
        if id is not None:
            self.model.start(id, how)

    @wild
    @rule(which=WHICH, only_dying=st.booleans())
    def die(self, which, only_dying):
        id = self.pick(which)
        if id is not None and self.model.workers[id].is_ready:
            worker = self.model.workers[id]
            if worker.is_dying or (not only_dying and self.model.can_kill):
                self.model.end(id)

    @there
    @rule(seconds=st.sampled_from([0.0, 0.005, 0.1, 0.6, 2.0]))
    def tick(self, seconds):
        self.model.tick(seconds)

    @wild
    @rule(which=WHICH)
    def stop_as_it_takes(self, which):
        id = self.pick(which, lambda worker: worker.queue and not worker.running)
        if id is not None and not self.model.workers[id].running:
            self.model.workers[id].is_in_the_way = self.model.workers[id].was_in_the_way = True

    @wild
    @rule(which=st.integers(0, 100))
    def cancel(self, which):
        if self.tasks:
            task = self.tasks[which % len(self.tasks)]
            self.model.cancel([task])
            self.model.perform(self.model.scheduler.cancelled(task, self.model.now))

    @wild
    @rule(which=st.integers(0, 100), running=st.booleans())
    def cancel_job(self, which, running):
        if self.tasks:
            job = self.tasks[which % len(self.tasks)].job
            self.model.may_be_cancelled |= {key for key in self.model.expected if key[0] is job}
            scheduler, now = self.model.scheduler, self.model.now
            self.model.perform(scheduler.job_cancelled(job, now, act.CANCELLED, running))

    @wild
    @rule(unseen=st.booleans())
    def cancel_waiting(self, unseen):
        self.model.may_be_cancelled |= set(self.model.expected)
        self.model.perform(self.model.scheduler.waiting_cancelled(self.model.now, unseen))

    @wild
    @rule(size=st.integers(1, 4))
    def resize(self, size):
        self.model.perform(self.model.scheduler.resized(size, self.model.now))

    @wild
    @rule(which=WHICH)
    def grow(self, which):
        id = self.pick(which)
        if id is not None:
            self.model.perform(self.model.scheduler.worker_leaves(id, self.model.now))

    @wild
    @rule(which=WHICH)
    def cannot_send(self, which):
        id = self.pick(which)
        if id is not None and self.model.workers[id].queue and self.model.can_take_back:
            place, _ = self.model.workers[id].queue.pop()
            self.model.perform(self.model.scheduler.not_sent(id, place, OSError("no memory"), self.model.now))

    @wild
    @rule(buffer=st.integers(1, 3))
    def open_source(self, buffer):
        source = object()
        self.model.sources[source] = {"sent": 0, "most": 0, "stopped": False}
        self.model.perform(self.model.scheduler.source_opened(source, buffer, self.model.now))

    @wild
    @rule(which=WHICH, options=OPTIONS)
    def feed(self, which, options):
        source = self.source(which)
        if source is not None:
            state = self.model.sources[source]
            if state["most"] is None or state["sent"] < state["most"]:
                self.model.submit(1, options, 0, source)

    @wild
    @rule(which=WHICH)
    def refuse(self, which):
        source = self.source(which)
        if source is not None:
            model, state = self.model, self.model.sources[source]
            model.expected[source, state["sent"]] = 0
            state["sent"] += 1
            model.perform(
                model.scheduler.chunk_refused(source, source, state["sent"] - 1, OSError("refused"), model.now)
            )

    @wild
    @rule(which=WHICH, finished=st.integers(0, 5))
    def read(self, which, finished):
        source = self.source(which)
        if source is not None:
            finished = min(finished, self.model.sources[source]["sent"])
            self.model.perform(self.model.scheduler.reader_wants(source, finished, self.model.now))
            assert self.model.sources[source]["most"] is None or self.model.sources[source]["most"] > finished

    @wild
    @rule(which=WHICH, closes=st.booleans())
    def end_source(self, which, closes):
        source = self.source(which)
        if source is None:
            return
        scheduler, now = self.model.scheduler, self.model.now
        if closes:
            self.model.may_be_cancelled |= {key for key in self.model.expected if key[0] is source}
            self.model.perform(scheduler.source_closed(source, source, now))
        else:
            state = self.model.sources[source]
            self.model.perform(scheduler.source_ended(source, state["sent"], now))
            assert state["stopped"]

    @wild
    @rule(how=st.sampled_from(["closing", "terminating", "killed"]), chance=st.integers(0, 5))
    def close(self, how, chance):
        if chance:  # else most runs would be short
            return
        scheduler, now = self.model.scheduler, self.model.now
        if how == "killed":
            self.model.may_be_cancelled |= set(self.model.expected)
            self.model.perform(scheduler.workers_killed(True, now))
        else:
            self.model.perform(getattr(scheduler, how)(now))

    @invariant()
    def sums_are_right(self):
        if self.model is not None:
            self.model.check_sums()
            self.model.check_nothing_is_left_behind()

    def teardown(self):
        stuck = None if self.model is None or self.model.has_ended else self.model.stuck_worker()
        if stuck is not None and self.model.scheduler.state < TERMINATING:
            self.model.check_others_do_the_rest(stuck)
        if self.model is not None and not self.model.has_ended:
            self.model.finish(terminate=len(self.tasks) % 3 == 0)


def test_a_call_waits_for_others_only_beside_workers_that_have_something_to_do():
    """One that is lent, and has answered, has nothing."""
    model = Model(size=1)
    (only,) = model.workers
    model.start(only, "starts")
    assert not model.scheduler.can_wait("short")
    task = model.call(Options("short", ResolvedOptions()))
    assert model.scheduler.can_wait("short")
    for _ in range(2):
        model.step(only)
    model.hear(only)
    assert model.outcomes == {(task.job, 0): act.VALUE}
    assert not model.scheduler.can_wait("short")


def test_workers_that_came_first_stay():
    """Else one that is soon ready goes each time that the size changes, and no call ever runs."""
    model = Model(size=1)
    (first,) = model.workers
    for size in (3, 2, 4, 1):
        model.perform(model.scheduler.resized(size, model.now))
    assert [id for id, worker in model.workers.items() if not worker.is_told_to_end] == [first]


STEPS = int(os.environ.get("POLYPROC_SCHEDULER_STEPS", "1500"))
AT_A_TIME, IN_A_RUN = 1500, 50


@pytest.mark.parametrize("part", range(-(-STEPS // AT_A_TIME)))
def test_whatever_happens_each_call_has_one_outcome_and_every_end_is_reached(part):
    settings_of_it = settings(
        max_examples=min(STEPS, AT_A_TIME) // IN_A_RUN,
        stateful_step_count=IN_A_RUN,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Machine, settings=settings_of_it)
