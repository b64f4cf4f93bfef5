#!/usr/bin/env bash
# One training on several nodes, one worker a node: sbatch scripts/slurm_workers.sh --config chexnet --data films.csv --out RUN
# The arguments are those of `covidcxr train`. A run that was stopped or lost a node goes on when it is submitted again:
# --resume begins where there is nothing yet. Films, COVIDCXR_CACHE and RUN lie on a disk that all nodes share.
#SBATCH --job-name=covidcxr
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
# SIGTERM two minutes before the time is over: all workers save after the same step and exit with 75.
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -euo pipefail
port="${WORKER_PORT:-22222}"
workers=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed "s/.*/\"&:$port\"/" | paste -sd,)
export workers
# Each task knows its number only when it runs. One that fails ends the others.
status=0
srun --kill-on-bad-exit=1 bash -c '
    export TF_CONFIG="{\"cluster\": {\"worker\": [$workers]}, \"task\": {\"type\": \"worker\", \"index\": $SLURM_PROCID}}"
    exec covidcxr train --resume "$@"
' worker "$@" || status=$?
[ "$status" -ne 75 ] || scontrol requeue "$SLURM_JOB_ID"
exit "$status"
