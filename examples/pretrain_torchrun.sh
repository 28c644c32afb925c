#!/usr/bin/env bash
# Pretrain on several machines by torchrun: run this on each of them, with the same MASTER.
#
#   MASTER=node0 NODES=8 bash examples/pretrain_torchrun.sh s3://bucket/laion /shared/runs/b16
#
# The second folder holds the run and its checkpoints; all machines have to see it at this path. A
# second start goes on where the first one stopped.
set -euo pipefail
shards=$1 out=$2

exec torchrun \
    --nnodes "${NODES:-2}" --nproc-per-node "${GPUS:-8}" \
    --rdzv-backend c10d --rdzv-endpoint "${MASTER:?name the first machine}:29500" \
    --rdzv-id "$(basename "$out")" --max-restarts 3 \
    -m regiontok.cli.app pretrain rice/pretrain_b16 --scale paper \
    "pretrain.data=[{shards='$shards'}]" --out "$out" --resume --timeout 20
