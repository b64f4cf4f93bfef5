#!/usr/bin/env bash
# Trains with N processes of this machine, as on N machines: bash scripts/launch_local_workers.sh N -- covidcxr train ...
# Each gets a TF_CONFIG of its own with free ports of the loopback. Output goes to worker_K.log in $WORKER_LOGS (by
# default ./workers); the first worker's is shown too. SIGTERM and Ctrl-C are handed on. Exits with the first status
# that is not 0, after the others were stopped: SIGTERM, so that they save, and SIGKILL after $WORKER_GRACE seconds (60).
set -u
usage="usage: bash scripts/launch_local_workers.sh N -- covidcxr train ARGUMENTS"
if [ $# -lt 3 ] || ! [[ "$1" =~ ^[1-9][0-9]*$ ]] || [ "$2" != -- ]; then
    echo "$usage" >&2
    exit 2
fi
count=$1
shift 2
logs="${WORKER_LOGS:-workers}"
mkdir -p "$logs" || exit 5

# Held all at once, so that they are different; free again when the workers take them.
ports=$(python3 - "$count" <<'PYTHON'
import socket, sys
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for one in held:
    one.bind(("127.0.0.1", 0))
print(",".join(f'"127.0.0.1:{one.getsockname()[1]}"' for one in held))
PYTHON
) || exit 2

pids=()
for ((rank = 0; rank < count; rank++)); do
    TF_CONFIG="{\"cluster\": {\"worker\": [$ports]}, \"task\": {\"type\": \"worker\", \"index\": $rank}}" \
        "$@" >"$logs/worker_$rank.log" 2>&1 &
    pids+=($!)
done
# Where it lives as long as this script, the chief's log is followed.
tail -n +1 -f "$logs/worker_0.log" 2>/dev/null &
shown=$!

hand_on() {
    for pid in "${pids[@]}"; do kill -s "$1" "$pid" 2>/dev/null; done
}
trap 'hand_on TERM' TERM
trap 'hand_on INT' INT

status=0 left=$count
while [ "$left" -gt 0 ]; do
    wait -n -p ended "${pids[@]}" 2>/dev/null
    code=$?
    if [ -z "${ended:-}" ]; then
        # No process is named after a signal to this script, and where bash has put away a worker that ended meanwhile:
        # starting any command in the background makes it do so. Its status is still there for a `wait` by number.
        for pid in "${pids[@]}"; do kill -0 "$pid" 2>/dev/null || ended=$pid; done
        [ -n "${ended:-}" ] || continue
        wait "$ended" 2>/dev/null
        code=$?
    fi
    left=$((left - 1))
    for rank in "${!pids[@]}"; do
        [ "${pids[$rank]}" = "$ended" ] && unset "pids[$rank]" && break
    done
    if [ "$code" -ne 0 ] && [ "$status" -eq 0 ]; then
        status=$code
        echo "worker $rank ended with status $code; see $logs/worker_$rank.log" >&2
        if [ "$left" -gt 0 ]; then
            hand_on TERM
            # Its own group of commands: whatever still trains after the grace is killed.
            (sleep "${WORKER_GRACE:-60}"; hand_on KILL) >/dev/null 2>&1 &
            killer=$!
        fi
    fi
done
kill "$shown" ${killer:-} 2>/dev/null
wait "$shown" 2>/dev/null
exit "$status"
