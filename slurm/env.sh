# shellcheck shell=bash
# The environment of jobs; change this file for your site. The scripts in this folder source it.
# module load cuda/12
# source "$HOME/venvs/astro_dist/bin/activate"

# Caches lie on the node, because home directories are small, slow and shared.
cache="${TMPDIR:-/tmp}/cache-of-astro_dist-$(id -u)"
export XDG_CACHE_HOME="$cache/XDG_CACHE_HOME" MPLCONFIGDIR="$cache/MPLCONFIGDIR"
export TRITON_HOME="$cache/TRITON_HOME" TORCHINDUCTOR_CACHE_DIR="$cache/TORCHINDUCTOR_CACHE_DIR"
mkdir -p -m 700 "$cache" "$XDG_CACHE_HOME" "$MPLCONFIGDIR" "$TRITON_HOME" "$TORCHINDUCTOR_CACHE_DIR"
[ -O "$cache" ] || { echo "$cache belongs to someone else: set TMPDIR" >&2; exit 2; }

# Run a command to its end. Slurm sends its warning (SIGTERM) to this shell, which passes it on. When the command
# then stops cleanly (exit code 75), the job is put back into the queue and resumes there, unless Slurm is ending
# the job, as after scancel. After 50 requeues the job ends: the cause, such as a full disk, does not go away.
# Slurm's commands ignore SIGPIPE: they would die of it where munged, on a busy node, has hung up on them.
until_done() {
    local pid code=0
    "$@" &
    pid=$!
    trap 'kill -TERM $pid' TERM
    wait $pid || code=$?
    if kill -0 $pid 2>/dev/null; then
        code=0
        wait $pid || code=$?
    fi
    if [ "$code" = 75 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 50 ] &&
        [ "$(trap '' PIPE; squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then
        (trap '' PIPE; scontrol requeue "$SLURM_JOB_ID")
    fi
    exit "$code"
}
