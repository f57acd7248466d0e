"""The same training on another machine: the command line, and a script for a cluster with Slurm."""

import shlex

from slicer.i18n import tr as _


def commandLine(config, gpus=1):
    """The commands that train this way, a line each; with several GPUs, by torchrun.

    Raises ValueError where that many processes cannot share the work.
    """
    checkProcesses(config, gpus)
    return "\n".join(_command(step, ["torchrun", "--nproc-per-node", str(gpus)], gpus) for step in config.steps())


def slurmScript(config, nodes=1, gpus=1, hours=12, name="infnet"):
    """A script for ``sbatch``. A job that is put back in the queue goes on from its last checkpoint.

    Raises ValueError where that many processes cannot share the work.
    """
    checkProcesses(config, nodes * gpus)
    torchrun = ["torchrun", "--nnodes", '"$SLURM_NNODES"', "--nproc-per-node", str(gpus)]
    torchrun += ["--rdzv-id", '"$SLURM_JOB_ID"', "--rdzv-backend", "c10d", "--rdzv-endpoint", '"$head:29500"']
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name={name}",
        f"#SBATCH --nodes={nodes} --ntasks-per-node=1 --gpus-per-node={gpus} --cpus-per-task={max(4, 4 * gpus)}",
        f"#SBATCH --time={hours}:00:00",
        "#SBATCH --requeue",
        "# The folders below have to be on a file system that all machines share; infnet has to be installed there.",
        "set -e",
        'head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
    ]
    return "\n".join([*lines, *("srun " + _command(step, torchrun, nodes * gpus) for step in config.steps())]) + "\n"


def checkProcesses(config, processes):
    """Raises ValueError where that many processes cannot train together."""
    if processes > 1 and config.isSemiSupervised:
        raise ValueError(_("Algorithm 1 runs in one process: choose one GPU on one machine."))
    if config.batchSize % processes:
        raise ValueError(
            _("A batch of {} slices cannot be shared by {} GPUs: change one of the two.").format(
                config.batchSize, processes
            )
        )


def _command(step, torchrun, processes):
    words = [*step[: step.index("--device")], *step[step.index("--device") + 2 :]]  # the other machine has its own
    isShared = processes > 1 and step[0] == "train"  # a fold is trained by one process
    # torchrun's words may name the shell's variables; the backend's are taken as they are.
    return " ".join([*(torchrun if isShared else ["python"]), "-m infnet", shlex.join(words)])
