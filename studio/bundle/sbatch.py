"""A ready Slurm script for a run's bundle."""

from __future__ import annotations

from studio.config import local_processes
from studio.folders.runs import Run

SCRIPT = """\
#!/bin/bash
# Trains a bundle of the studio on a Slurm cluster, from the folder that holds the bundle:
#   unzip -p {bundle} train.sbatch > train.sbatch && sbatch train.sbatch {bundle}
# Needs the studio on every node (STUDIO: its folder; PYTHON: an interpreter with its requirements). Each node unpacks
# the bundle for itself, so no disk is shared but the one the result is written to: result-<job>.zip, which the studio
# takes back (POST /api/runs/import).
#SBATCH --job-name=studio-{short}
#SBATCH --nodes={machines}
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task={cores}
{gpus}#SBATCH --output=train-%j.log
#SBATCH --signal=TERM@120
set -euo pipefail
export STUDIO="${{STUDIO:-$PWD}}" PYTHON="${{PYTHON:-python}}" BUNDLE="$(realpath "$1")"
export RESULT="$PWD/result-$SLURM_JOB_ID.zip" PORT=$((20000 + SLURM_JOB_ID % 20000))
MAIN="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
export MAIN
exec srun bash -c 'cd "$STUDIO" && exec "$PYTHON" -m studio.remote.elsewhere "$BUNDLE" --result "$RESULT" \\
    --machine-rank "$SLURM_NODEID" --main-address "$MAIN" --main-port "$PORT"'
"""


def script(run: Run) -> str:
    """The script; it asks for as many machines, cores and GPUs as the run's settings say."""
    compute = run.config().compute
    here = local_processes(compute)
    return SCRIPT.format(
        bundle=f"run-{run.id[:8]}.zip", short=run.id[:8], machines=compute.num_machines,
        cores=here * (compute.num_threads or 1),
        gpus=f"##SBATCH --gpus-per-node={here}   # take one # away where there are GPUs\n")
