# What a job needs before it begins; change it for your site. The scripts beside it source it.
# module load cuda/12
# source "$HOME/venvs/astro_dist/bin/activate"

# Caches on the node: home directories are small, slow and shared.
cache="${TMPDIR:-/tmp}/cache-of-astro_dist-$(id -u)"
export XDG_CACHE_HOME="$cache/XDG_CACHE_HOME" MPLCONFIGDIR="$cache/MPLCONFIGDIR"
export TRITON_HOME="$cache/TRITON_HOME" TORCHINDUCTOR_CACHE_DIR="$cache/TORCHINDUCTOR_CACHE_DIR"
mkdir -p -m 700 "$cache" "$XDG_CACHE_HOME" "$MPLCONFIGDIR" "$TRITON_HOME" "$TORCHINDUCTOR_CACHE_DIR"
[ -O "$cache" ] || { echo "$cache belongs to someone else: set TMPDIR" >&2; exit 2; }

# Runs a command to its end. Slurm's warning reaches this shell and is passed on; a command that then
# stops cleanly (75) puts the job back into the queue, where it goes on from what is done, unless Slurm is
# ending the job, as after scancel; a cause that does not go away, such as a full disk, ends after 50 times.
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
        [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then
        scontrol requeue "$SLURM_JOB_ID"
    fi
    exit "$code"
}
