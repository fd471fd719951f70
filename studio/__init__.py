"""A web-UI fine-tuning studio for text-to-image diffusion models.

Who may import whom (a room imports only what stands to its right; held by tests/test_layers.py and by ruff):

    __main__ > cli
    cli > trash > prepare > ...
    ui > web > launch > bundle > hub > export, estimate, presets, sweeping, trash > prepare > ...
    train, jobs > prepare > ...
    prepare > machine, sizes > runs, datasets > work, edits, foreign, reference > events, families, optimizers >
              tensors, scripts, requests, faults >
              zips, commandline, storage, limited, curves, surroundings, lean, shell, config > errors > messages
    jobs > hub
    config > settings > fields > errors > messages

`jobs` may also import `train`. `ui` and `web` never load torch or diffusers; `train` never loads gradio. Page and
trainer meet only in files.
"""

__version__ = "0.1.0"
