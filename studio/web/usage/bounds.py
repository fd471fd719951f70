"""Settings that would harm the others on a server where strangers sign in: refused, by what the machine has.

They are fine on one's own machine, so nothing here holds where there is one owner.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from studio.config import Config, Problem, local_processes
from studio.messages import Message

MOST_DRAWN = 2000  # sample pictures of a run
OPEN_REQUESTS = 20  # that a live run has not answered yet
MOST_EDITS = 100  # of a run: each look at its settings folds them all
EDITS_BYTES = 1 << 20  # of a run's edits, which are written anew with each
SHARE = 0.5  # of the memory, that the pictures of one batch may take by the least that any model makes of them
LATENT_BYTES = 0.5  # per pixel that an encoding keeps: mean and deviation of four channels at an eighth of the side
LEAST_BYTES = 8.0  # per pixel of a batch: 64 channels of fp32, twice, at an eighth of the side
LONE_TRACKERS = {"wandb": Message("it would write into the account of whoever runs this server: leave it out"),
                 "trackio": Message("it opens a port of this server: leave it out, or take `tensorboard`")}


def machines(config: Config) -> Iterator[Problem]:
    """Several machines have to reach this one, by a port that asks for no password."""
    if config.compute.num_machines > 1:
        yield Problem(field="compute.num_machines",
                      message=Message("several machines would open a port of this server, which others use too, to the "
                                      "network: set 1, or train on machines of your own"))


def here(config: Config, facts: Mapping[str, Any]) -> Iterator[Problem]:
    """What takes more of this machine than a run may where others wait: threads, memory, accounts."""
    yield from machines(config)
    compute = config.compute
    cores = facts["cores"]
    processes = local_processes(compute)
    yield from trackers(config)
    if compute.backend != "local":
        return
    if (compute.num_threads or 1) * processes > max(cores, processes):
        yield Problem(field="compute.num_threads",
                      message=Message("{threads} threads are more than the {cores} cores of this machine, which others "
                                      "use too: set at most {most}, or leave it empty", threads=compute.num_threads,
                                      cores=cores, most=max(1, cores // processes)))
    if compute.num_workers > cores:
        yield Problem(field="compute.num_workers",
                      message=Message("{threads} threads that read ahead are more than the {cores} cores of this "
                                      "machine, which others use too: set at most {most}", threads=compute.num_workers,
                                      cores=cores, most=cores))
    if compute.thread_wait == "spin":
        yield Problem(field="compute.thread_wait",
                      message=Message("threads that spin take the cores from the others on this machine: set `sleep`"))
    yield from _memory(config, facts)


def trackers(config: Config) -> Iterator[Problem]:
    """Trackers that are the server owner's, or that serve the network."""
    for name in dict.fromkeys(config.track.report_to):
        if name in LONE_TRACKERS:
            yield Problem(field="track.report_to",
                          message=Message("{name} cannot be used here: {why}", name=name, why=LONE_TRACKERS[name]))


def drawn(config: Config) -> Iterator[Problem]:
    """How many pictures a run would draw of its prompts."""
    times = 2
    every_steps = config.sample.every_steps
    if every_steps:
        times += (config.train.max_steps or 0) // every_steps
    sets_of_weights = 1 + config.ema.enabled
    count = times * len(config.sample.prompts or []) * sets_of_weights
    if count > MOST_DRAWN:
        yield Problem(field="sample.every_steps",
                      message=Message("this run would draw {count:,} sample pictures, and at most {most:,} are drawn "
                                      "here: draw less often, or with fewer prompts", count=count, most=MOST_DRAWN))


def cached(config: Config, pictures: int, limit: float) -> Iterator[Problem]:
    """Whether the encodings of so many pictures have room in the cache of `limit` bytes, which all runs share."""
    data = config.data
    if not data.center_crop and not data.crop_variants:  # encoded anew in each step
        return
    size = pictures * (1 + data.random_flip) * max(1, data.crop_variants) * (data.resolution or 0) ** 2 * LATENT_BYTES
    if size > limit:
        yield Problem(field="data.resolution",
                      message=Message("the encodings of {count:,} pictures would take {size:.1f} GB, and the cache, "
                                      "which all runs here share, has {limit:.1f} GB: take fewer pictures "
                                      "(data.max_samples), fewer crop variants, or a lower resolution", count=pictures,
                                      size=size / 1e9, limit=limit / 1e9))


def _memory(config: Config, facts: Mapping[str, Any]) -> Iterator[Problem]:
    gpus = facts["gpus"]
    if gpus:
        memory = gpus[0]["memory_bytes"]
        where = gpus[0]["name"]
    else:
        memory = facts["memory_bytes"]
        where = "this machine"
    batch = config.train.batch_size or 1
    side = config.data.resolution or 0
    if batch * side**2 * LEAST_BYTES > SHARE * memory:
        most = max(1, int(SHARE * memory / (side**2 * LEAST_BYTES)))
        yield Problem(field="train.batch_size",
                      message=Message("a batch of {batch:,} pictures of {side} px takes at least {size:.1f} GB of "
                                      "memory, and {where} has {memory:.1f} GB for all: set at most {most:,}, and "
                                      "gradient accumulation for the same effect", batch=batch, side=side,
                                      size=batch * side ** 2 * LEAST_BYTES / 1e9, where=where, memory=memory / 1e9,
                                      most=most))
