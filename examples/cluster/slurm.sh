#!/bin/bash
# A folder of images over a job array: sbatch examples/cluster/slurm.sh /data/photos /data/masks /data/filled
# Preempted or failed tasks are queued again and go on where they were; giving the whole command again does too.
#SBATCH --job-name=repaint
#SBATCH --array=1-1000%250
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=repaint-%A-%a.log

set -euo pipefail
PHOTOS=$1
MASKS=$2
FILLED=$3
SHARDS=1000 # as in --array: it must not change while a folder is filled in parts

export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
export HF_HUB_OFFLINE=1 # weights are read from a shared folder: a thousand tasks do not ask the Hub

srun python -m repaint inpaint "$PHOTOS" "$MASKS" --out "$FILLED" \
    --schedule fast --batch-size 16 --shard "$SLURM_ARRAY_TASK_ID/$SHARDS" --json
