"""How bad a simulated world is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Faults:
    """How bad the network, the disks, the clocks, the workers, the tasks and the operators are. Probabilities per frame
    or task, or rates per second of each machine, or for what concerns all of them, of the cluster."""

    drop: float = 0.02
    duplicate: float = 0.01
    slow: float = 0.05  # delayed by up to 100 ms, and so reordered
    crash_rate: float = 0.15
    partition_rate: float = 0.1
    drains: float = 1.0  # nodes are drained, are quiet and reload now and then, in some of the worlds; 0: in none
    queues: float = 0.0  # a task names a queue with this probability, and queues are paused and weighed now and then
    alters: float = 0.0  # so many tasks a second are held, released, moved or given another priority
    graphs: float = 0.0  # a task that is logged belongs to a graph with this probability, and graphs are asked for
    places: float = 0.0  # a task asks for tags or amounts with this probability, which not every node has
    schedules: float = 0.0  # for each task that is submitted, a schedule is changed with this probability
    main_cut_rate: float = 0.05  # the main connections of a machine carry nothing, and the quick ones do
    pause_rate: float = 0.05
    worker_death_rate: float = 0.2
    disk_delay_s: float = 0.01
    disk_byte_s: float = 1e-6  # 1 MB/s: slow, as all that is written here is small
    disk_failure_rate: float = 0.02
    wipe_rate: float = 0.02
    put_back_rate: float = 0.1  # somebody puts the disk of a machine back as it was before
    clone_rate: float = 0.03  # somebody starts a copy of a machine beside it
    clock_jump_rate: float = 0.02
    wall_offset_s: float = 300.0  # of a machine's wall clock, at most
    wall_drift: float = 0.02  # seconds that it gains or loses in one, at most
    wall_jump_rate: float = 0.05
    reboot_rate: float = 0.01
    admin_rate: float = 0.05
    cancel: float = 0.05  # for each task that is submitted, one is cancelled with this probability
    task_fails: float = 0.05  # by raising
    task_is_slow: float = 0.02
    task_kills: float = 0.01  # its worker
    task_is_flaky: float = 0.1  # it fails at first
    move: float = 0.1  # a node that starts again has another address with this probability
    cut_at_save: float = 0.1  # the power goes with this probability while a node writes down who it is
    stale: float = 0.3  # a node that starts again brings back frames of seconds ago with this probability
    link_byte_s: float = 0.0  # of each connection between two nodes; see slow_links.py
    large: float = 0.0  # a task has arguments, and a result, that take about a lease on such a link
    mains_alone: float = 0.3  # they do so while it is asked what becomes of that, with this probability
    keyed: float = 0.0  # a task has a key, and other clients submit it, too, with this probability
    dependent: float = 0.0  # a task that asks for little depends on others, with this probability
    limits: float = 0.0  # a task has a limit, with this probability: then no node may be silent that lives
    batches: float = 0.0  # a task may be handed to its function with others, with this probability
    late: float = 0.0  # a node is not there from the beginning, with this probability

    def of_machine(self) -> float:
        """At which rate anything befalls a machine that is up."""
        return (
            self.crash_rate
            + self.wipe_rate
            + self.disk_failure_rate
            + self.put_back_rate
            + self.clone_rate
            + self.pause_rate
            + self.clock_jump_rate
            + self.wall_jump_rate
            + self.worker_death_rate
        )


PEACE = Faults(**{**dict.fromkeys(Faults.__slots__, 0), "disk_delay_s": 0.001})
NO_SILENCE: tuple[str, ...] = (
    "partition_rate",
    "pause_rate",
    "clock_jump_rate",
    "main_cut_rate",
    "clone_rate",
    "put_back_rate",
    "admin_rate",
)
"""What may have a node be silent, or removed, that lives and runs tasks."""
