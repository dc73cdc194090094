#!/bin/bash
# A run on several machines under SLURM, one launcher per machine and one rank per GPU:
#
#     sbatch configs/launch/slurm.sh joint configs/train/tiny_joint.yaml train.deepspeed.zero_stage=3 matrices=adamw
#
# Submitted again it goes on from the newest checkpoint, on as many machines as it is given then: keep
# batch_size / (ranks x accumulation) as it was and the losses are those of an unbroken run. The repository, the data
# and train.output must lie where all machines see them. SLURM's signal before the time limit makes the run stop with
# a checkpoint.
#SBATCH --job-name=unimm
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
set -euo pipefail

stage=$1
shift
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

srun --kill-on-bad-exit=1 .venv/bin/torchrun \
    --nnodes "$SLURM_NNODES" --nproc-per-node "${SLURM_GPUS_ON_NODE:-8}" \
    --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$first:29500" \
    --module "train.$stage" "$@"
