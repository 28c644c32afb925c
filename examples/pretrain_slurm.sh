#!/usr/bin/env bash
# Pretrain under Slurm: sbatch examples/pretrain_slurm.sh s3://bucket/laion /shared/runs/b16
#
# Slurm starts one torchrun a machine. When the time is up, the steps get SIGTERM: each run ends
# behind its step with a checkpoint, and the job queues itself again and goes on from there.
#SBATCH --job-name=rice
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=96
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@300
#SBATCH --open-mode=append
set -euo pipefail
shards=$1 out=$2

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --kill-on-bad-exit=1 torchrun \
    --nnodes "$SLURM_NNODES" --nproc-per-node "$SLURM_GPUS_ON_NODE" \
    --rdzv-backend c10d --rdzv-endpoint "$first:29500" --rdzv-id "$SLURM_JOB_ID" \
    -m regiontok.cli.app pretrain rice/pretrain_b16 --scale paper \
    "pretrain.data=[{shards='$shards'}]" --out "$out" --resume --timeout 20 &

go_on() {
    scancel --signal=TERM "$SLURM_JOB_ID.0"
    wait || true
    scontrol requeue "$SLURM_JOB_ID"
}
trap go_on TERM
wait
