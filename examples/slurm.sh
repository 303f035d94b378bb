#!/bin/bash
# A training on 2 computers with 4 GPUs each, as a job of SLURM: sbatch examples/slurm.sh, in the folder of the runs,
# which all computers see. It goes on where it was when it is submitted, or requeued, again.
#SBATCH --job-name=street
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
# Three minutes before the time is up. Not USR1, by which torchrun would end itself and not its processes.
#SBATCH --signal=TERM@180

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# --batch_size is that of all 8 processes together. --resume begins where there is no checkpoint yet.
srun torchrun --nnodes="$SLURM_NNODES" --nproc_per_node=4 \
    --rdzv_id="$SLURM_JOB_ID" --rdzv_backend=c10d --rdzv_endpoint="$first:29500" \
    train.py street data/train/source data/train/target --preset p --batch_size 8 --resume
