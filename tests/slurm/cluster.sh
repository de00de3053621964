#!/usr/bin/env bash
# A real Slurm of one node in a folder of its own: no systemd, no accounting, nothing outside the folder.
# Usage: cluster.sh start FOLDER     then `export SLURM_CONF=FOLDER/slurm.conf` and use sbatch, squeue …
#        cluster.sh stop FOLDER
set -euo pipefail

action=$1
folder=$(realpath "$2")
user=$(id -un)
host=$(hostname -s)

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'
}

start_munge() {
    mkdir -p "$folder/munge"
    chmod 700 "$folder/munge"
    head -c 1024 /dev/urandom >"$folder/munge/key"
    chmod 400 "$folder/munge/key"
    local as=()
    if [ "$user" = root ]; then
        chown -R munge: "$folder/munge"
        as=(runuser -u munge --)
    fi
    chmod 711 "$folder/munge"
    "${as[@]}" munged --num-threads=2 --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
        --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
}

write_configuration() {
    mkdir -p "$folder/state" "$folder/spool"
    cat >"$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CryptoType=crypto/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0
MpiDefault=none
ReturnToService=2
KillWait=5
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc) State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
}

wait_until_idle() {
    for _ in $(seq 100); do
        if sinfo --noheader --format=%T 2>/dev/null | grep -q idle; then
            return 0
        fi
        sleep 0.2
    done
    echo "Slurm did not become idle; see the logs in $folder" >&2
    tail -n 5 "$folder"/*.log >&2
    return 1
}

start() {
    chmod 755 "$folder"
    start_munge
    write_configuration
    export SLURM_CONF="$folder/slurm.conf"
    slurmctld
    slurmd
    wait_until_idle
}

stop() {
    local file
    export SLURM_CONF="$folder/slurm.conf"
    scancel --full --signal=KILL --user="$user" 2>/dev/null || true
    scancel --user="$user" 2>/dev/null || true
    for _ in $(seq 50); do
        if [ -z "$(squeue --noheader 2>/dev/null)" ]; then
            break
        fi
        sleep 0.2
    done
    for file in "$folder/slurmd.pid" "$folder/slurmctld.pid" "$folder/munge/pid"; do
        if [ -s "$file" ]; then
            kill "$(cat "$file")" 2>/dev/null || true
        fi
    done
}

case "$action" in
start) start ;;
stop) stop ;;
*)
    echo "usage: cluster.sh start|stop FOLDER" >&2
    exit 2
    ;;
esac
