"""The lines of the text table about controlling runs: changing, branching, fixes, the queue, being told."""

from __future__ import annotations

TABLE: dict[str, str] = {
    "run.edit": "Change",
    "run.extend": "Train further",
    "change.title": "Changed on the way",
    "change.help": "It holds from the step on that the run goes on from.",
    "change.help_live": "It holds from the next step on.",
    "change.save": "Change",
    "change.resume": "Change and go on",
    "change.from": "From step {step} on",
    "change.value": "{name}: {value}",
    "branch.button": "Branch from here",
    "branch.title": "Branch from {checkpoint}",
    "branch.help": "A new run with the same pictures goes on from this checkpoint, with what you change here.",
    "branch.name_empty": "empty: {name}, branched",
    "branch.start": "Start the branch",

    "fix.resume": "Resume",
    "fix.resume_freed": "Space is free now: try again",
    "fix.again": "Start again with the same settings",
    "fix.token": "Try again with this token",
    "fix.token_label": "Hugging Face token (sent once, never stored)",
    "fix.smaller_batch": "Batch of {batch}, accumulated {accumulation} times: less memory, same effect",
    "fix.checkpointing": "Gradient checkpointing: less memory, about 20 % slower",
    "fix.adamw8bit": "8-bit optimizer: less memory",
    "fix.lower_rate": "Learning rate {rate}",
    "fix.full_precision": "Without mixed precision",
    "fix.correct": "Correct it in the form",
    "fix.other_base": "Choose another base model",
    "fix.how_form": "The form opens with these settings.",
    "fix.how_resume": "This run goes on.",
    "fix.how_branch": "A new run goes on from {checkpoint}.",
    "fix.how_again": "A new run begins at the first step.",

    "notify.button": "Tell me when it ends",
    "notify.on": "You will be told when it ends",
    "notify.denied": (
        "This browser does not let the studio show notifications: allow them for this address in its settings."),

    "queue.title": "Queue",
    "queue.help": "One trains at a time, from the top down.",
    "queue.up": "Move {name} up",
    "queue.down": "Move {name} down",
    "queue.place": "{name} is number {position} now.",
}
