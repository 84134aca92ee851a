#!/bin/sh
# What runs on a cluster's login host: one function a command, called by the line that programs.py adds to this text.
#
# It comes through the standard input of /bin/sh, never as a command line, which all users of the host can read. Nothing
# runs before that line has arrived: up to there are functions and two numbers. The functions have two words as names,
# since one of a single word may be a command that /etc/profile calls, or a function that it defines.
#
# shellcheck disable=SC2317  # which of the commands is called stands in that line

# Seconds in which one command of Slurm's has to answer; while its controller is down they take about ten.
slurm_seconds=30
# Seconds that a user's profile may take to say which PATH it sets.
profile_seconds=10

# --- what all commands have in common ---

ask_slurm() { "$timeout" "$slurm_seconds" "$@"; }

tell_value() { # NAME VALUE: one line of the answer
    printf '%s %s\n' "$1" "$(printf '%s' "$2" | tr '\n' ' ')"
}

tell_complaint() { # STATUS COMMAND MESSAGE: where a shell finds no command, the status is 127
    case $1 in 126 | 127) tell_value missing "$2 $3" ;; *) tell_value trouble "$3" ;; esac
}

keep_text() { # FILE TEXT: the file holds all of it or is not there
    printf '%s\n' "$2" >"$1.$$" && mv -f "$1.$$" "$1"
}

find_commands() { # Where Slurm is not in the PATH, that of the machine's or the user's login shells may hold it.
    timeout=$(command -v timeout)
    # shellcheck source=/dev/null
    command -v sbatch >/dev/null 2>&1 || . /etc/profile >/dev/null 2>&1
    command -v sbatch >/dev/null 2>&1 || {
        # shellcheck disable=SC2016  # the login shell's own PATH is wanted
        path=$("$timeout" "$profile_seconds" "${SHELL:-/bin/sh}" -lc 'printf "\nPATH %s\n" "$PATH"' 2>/dev/null |
            sed -n 's/^PATH //p' | tail -n 1)
        PATH=$PATH${path:+:$path}
    }
}

latest_in() { # FOLDER: the number of its latest attempt, or nothing
    # shellcheck disable=SC2010  # numbers alone are wanted
    ls "$1" 2>/dev/null | grep -x '[1-9][0-9]*' | sort -n | tail -n 1
}

find_job() { # DIGEST ATTEMPT: sets $job to the job of that attempt, whose id nobody was told
    jobs=$(ask_slurm squeue -h -t all -u "$(id -un)" -o '%i %r %j' 2>&1) || return
    job=$(printf '%s\n' "$jobs" | grep "\\.$1\\.$2\$" | grep -v ' BadConstraints ' | tail -n 1)
    job=${job%% *}
}

show_job() { # FOLDER JOB
    case $2 in '' | *[!0-9]*) return ;; esac # without an id Slurm would show all jobs
    answer=$(ask_slurm scontrol --oneliner show job "$2" 2>&1)
    status=$?
    record=$(cat "$1/exit" 2>/dev/null)
    # That of a run before the job was requeued says nothing of the job.
    case "$answer " in *' Restarts='*)
        case "$answer " in *" Restarts=${record##* } "*) ;; *) record= ;; esac ;;
    esac
    [ -z "$record" ] || tell_value exit "${record% *}"
    tell_value scontrol "$status $answer"
    case $answer in *'Invalid job id'*)
        answer=$(ask_slurm sacct -n -P -X -j "$2" -o State,ExitCode 2>&1)
        status=$?
        tell_value sacct "$status $(printf '%s\n' "$answer" | tail -n 1)" ;;
    esac
}

# --- the commands ---

find_latest() { # DIGEST: show the latest attempt, with a look at its job
    key=$base/$1
    attempt=$(latest_in "$key")
    tell_value attempt "${attempt:-0}"
    [ -n "$attempt" ] || return 0
    folder=$key/$attempt
    [ ! -e "$folder/concluded" ] || tell_value concluded yes
    job=$(cat "$folder/job_id" 2>/dev/null)
    tell_value job "$job"
    show_job "$folder" "$job"
}

# Submit an attempt, unless it has a job already. The job is looked for, submitted and written down under one lock.
submit_job() { # DIGEST ATTEMPT TOKEN OUTPUT SCRIPT BATCH [NAME=VALUE]... -- [SBATCH_OPTION]...
    key=$base/$1
    folder=$key/$2
    cancelled=$key/cancelled.$3
    output=${4:-$folder/output.log}
    { mkdir -p "$folder" && chmod 700 "$base"; } || { tell_value trouble "the folder $folder cannot be made"; return; }
    exec 9>"$key/lock"
    flock -w "$slurm_seconds" 9
    [ $? -ne 1 ] || { tell_value trouble 'another try of this task is submitting'; return; }
    [ ! -e "$cancelled" ] || { tell_value cancelled yes; return; }
    job=$(cat "$folder/job_id" 2>/dev/null)
    [ -z "$job" ] || { tell_value job "$job"; return; }
    for command in sbatch squeue scontrol scancel; do
        command -v "$command" >/dev/null 2>&1 || { tell_value missing "$command"; return; }
    done
    find_job "$1" "$2" || { tell_complaint $? squeue "$jobs"; return; }
    [ -z "$job" ] || { keep_text "$folder/job_id" "$job"; tell_value job "$job"; return; }
    printf '%s' "$5" >"$folder/script" && chmod 700 "$folder/script"
    printf '%s' "$6" >"$folder/batch"
    case $output in /*) ;; \~/*) output=$HOME/${output#??} ;; *) output=$HOME/$output ;; esac
    keep_text "$folder/output_path" "$output" ||
        { tell_value trouble "the folder $folder cannot be written to"; return; }
    shift 6
    sbatch=$(command -v sbatch)
    answer=$(sbatch_with "$@" --output="$output" --error="$output" "$folder/batch" "$folder")
    status=$?
    job=${answer%%;*}
    job=$(printf '%s\n' "$job" | tail -n 1)
    case $status,$job in
    0, | 0,*[!0-9]*) tell_value trouble "sbatch answered: $answer" ;;
    0,*)
        keep_text "$folder/job_id" "$job"
        # Before anything is told: where nobody listens any more, telling ends this program.
        [ ! -e "$cancelled" ] || { ask_slurm scancel "$job" >/dev/null 2>&1; tell_value cancelled yes; }
        tell_value job "$job"
        tell_value new yes ;;
    124,*) tell_value trouble "sbatch did not answer within $slurm_seconds s" ;;
    126,* | 127,*) tell_value missing "sbatch $(cat "$folder/sbatch")" ;;
    *) tell_value refused "$(cat "$folder/sbatch")" ;;
    esac
}

# Become sbatch, with the environment that the user gives. Its variables may bear the names of ours, and PATH is one of
# them: so from the first of them on nothing is read but arguments.
sbatch_with() { # [NAME=VALUE]... -- [ARGUMENT]...
    exec 2>"$folder/sbatch" 9>&-
    for word in "$@"; do # behind the "--" comes the command, with its full path
        shift
        set -- "$@" "$word"
        [ "$word" != -- ] || set -- "$@" "$timeout" "$slurm_seconds" "$sbatch"
    done
    while [ "$1" != -- ]; do
        # By "command", since one that no shell lets change, such as UID, would end this program.
        # shellcheck disable=SC2163  # the argument holds the name
        command export "$1"
        shift
    done
    shift
    exec "$@"
}

# Show how a job is getting on, and at most PIECE bytes of its output behind the first OFFSET ones.
look_at_job() { # DIGEST ATTEMPT JOB [OFFSET PIECE]
    folder=$base/$1/$2
    show_job "$folder" "$3"
    output=$(sed "s/%j/${3%%[!0-9]*}/g" "$folder/output_path" 2>/dev/null)
    size=$(wc -c <"$output" 2>/dev/null)
    tell_value output "${size:-0}"
    [ $# -lt 5 ] || tail -c "+$(($4 + 1))" "$output" 2>/dev/null | head -c "$5"
}

read_result() { # DIGEST ATTEMPT LARGEST: at most so many bytes of what the script has left as its result
    tell_value output 0
    head -c "$3" "$base/$1/$2/result" 2>/dev/null
}

conclude_job() { # DIGEST ATTEMPT: write down that the end of a job was told
    : >"$base/$1/$2/concluded" && tell_value concluded yes
}

# Cancel the job of an attempt, whether its id is known or not; of attempt 0, that of the latest one behind CONCLUDED. A
# try with the token TOKEN, which may be about to submit, will not, or will cancel what it submits.
cancel_job() { # DIGEST ATTEMPT JOB TOKEN CONCLUDED
    key=$base/$1
    attempt=$2
    job=$3
    [ -z "$4" ] || { mkdir -p "$key" && : >"$key/cancelled.$4"; }
    if [ "$attempt" = 0 ]; then
        attempt=$(latest_in "$key")
        { [ "${attempt:-0}" -gt "$5" ] && [ ! -e "$key/$attempt/concluded" ]; } ||
            { tell_value cancelled none; return; }
    fi
    [ -n "$job" ] || job=$(cat "$key/$attempt/job_id" 2>/dev/null)
    [ -n "$job" ] || find_job "$1" "$attempt" || { tell_complaint $? squeue "$jobs"; return; }
    case $job in
    '') tell_value cancelled none; return ;;
    *[!0-9]*) tell_value trouble "$job is no id of a job"; return ;;
    esac
    answer=$(ask_slurm scancel "$job" 2>&1) || { tell_complaint $? scancel "$answer"; return; }
    # It takes a while to end, and a later try is not to follow it; one that had ended by itself has an outcome.
    [ -s "$key/$attempt/exit" ] || touch "$key/$attempt/concluded" 2>/dev/null
    tell_value cancelled "$job"
}

main() { # COMMAND [ARGUMENT]...
    find_commands
    base=$HOME/.airflow-together # after the profile, which may have a variable of that name
    echo airflow-together-answer # what a login shell writes before it is of no interest
    "$@"
}
