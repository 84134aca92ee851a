#!/bin/sh
# Runs the script beside it, and writes down how it ended, which Slurm forgets.
#
# It is the job itself: Slurm gets it with the user's #SBATCH lines behind its first line, and the folder of the job as
# its argument. A signal for the batch script alone is a matter of the user's script; one for all reaches it anyway, and
# ends it before this writes down how. Its variables have a prefix: one that the user has exported under the same name
# would change for the script as well.
rm -f "$1/exit" "$1/result"
[ -s "$1/job_id" ] || {
    printf '%s\n' "$SLURM_JOB_ID" >"$1/job_id.job" && mv -f "$1/job_id.job" "$1/job_id"
}
TOGETHER_RESULT_PATH=$1/result
export TOGETHER_RESULT_PATH
together_signal=none
together_again=1
together_status=
trap 'together_signal=TERM together_again=1' TERM
trap 'together_signal=INT together_again=1' INT
trap 'together_again=1; kill -s USR1 "$together_child" 2>/dev/null' USR1
trap 'together_again=1; kill -s USR2 "$together_child" 2>/dev/null' USR2
trap 'together_again=1; kill -s HUP "$together_child" 2>/dev/null' HUP
"$1/script" &
together_child=$!
while [ -n "$together_again" ]; do
    together_again=
    wait "$together_child"
    together_waited=$?
    { [ "$together_waited" = 127 ] && [ -n "$together_status" ]; } || together_status=$together_waited
done
printf '%s %s %s\n' "$together_status" "$together_signal" "${SLURM_RESTART_COUNT:-0}" >"$1/exit.job" &&
    mv -f "$1/exit.job" "$1/exit"
exit "$together_status"
