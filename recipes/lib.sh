# shellcheck shell=bash
# What every recipe begins with. A recipe sources this file, calls `recipe` once, `step` before each part,
# and `finish` at its end; in between stand dretrieve commands, exactly as one would type them.
#
#   WORK       where everything goes            (default work/<recipe>, or work/<recipe>/<profile>)
#   PROFILE    how large it is run              (the recipe's header lists its profiles; the first is the default)
#   PYTHON     which Python runs dretrieve      (default: the checkout's .venv, else python3)
#   DRETRIEVE  the whole command in its place   (for example "srun dretrieve"; words are split at spaces)
#   ASKED      a file of commands that need not run again, to which this run adds its own; the tables of one
#              `make reproduce` share one, so that none looks again at what the last one made
#   SEEDS      which of its seeds a recipe runs (default: all, see `choose_seeds`)
#   MINUTES    how long one call may take       (default 0: as long as it takes). When they are over, a training
#              stops with a checkpoint, no command is started but to look at what stands finished, and the
#              recipe ends with exit code 75; the same call goes on from there
#   BEGAN      from when they count, in seconds since 1970   (default now; all tables of one `make reproduce`
#              get when that began)
#   DRY_RUN    1: only print the plan: every command with what its own --dry-run says
#              (so does the word --dry-run behind the recipe's name)
#   PLAN       a file: only write the commands down there, for `dretrieve report`, which asks each of them
#
# Run a recipe again whenever you like: a command whose result is finished and fits says "up to date", one
# that was interrupted goes on where it stopped, and one whose options or inputs changed is made again.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export DRETRIEVE_STALE=replace  # the work folder is the recipe's own: what went stale there is made again

if [[ -n ${DRETRIEVE:-} ]]; then
    read -ra dretrieve_words <<<"$DRETRIEVE"
else
    if [[ -z ${PYTHON:-} ]]; then
        PYTHON=python3
        [[ -x $ROOT/.venv/bin/python ]] && PYTHON=$ROOT/.venv/bin/python
    fi
    dretrieve_words=("$PYTHON" -m dretrieve_cli)
fi

[[ ${1:-}${PLAN:+--dry-run} != --dry-run ]] || DRY_RUN=1
[[ -z ${DRY_RUN:-} ]] || plan=${PLAN:-$(mktemp)}

last_second="" # of $SECONDS, when this call's MINUTES are over; nothing where they have no end
at_once=1      # so many rows run side by side, see `beside`
copies=()      # those that do, the oldest first: process and log, and in LOG.err what goes to stderr
failed=()      # the logs of those that failed, the first one last
declare -A asked=()

# remember: what $ASKED says has been done.
remember() {
    local line
    [[ -e ${ASKED:-} ]] || return 0
    while IFS= read -r line; do asked[$line]=1; done <"$ASKED"
}
remember

# The command of every step. Found in this checkout, installed or not, from any folder.
dretrieve() {
    local question=$*
    question=${question%% --max-minutes *} # however long it may take, it is the same question
    if [[ -n ${DRY_RUN:-} ]]; then
        planned call "$@"
        return
    fi
    [[ -z ${asked[$question]:-} ]] || return 0
    [[ $1 == array ]] || in_time "$@" # an array's state is looked at in any case
    PYTHONPATH=$ROOT:$ROOT/cli${PYTHONPATH:+:$PYTHONPATH} "${dretrieve_words[@]}" "$@" || return
    if [[ -n ${ASKED:-} && $1 != array ]]; then # the state of an array is asked for more than once
        asked[$question]=1
        printf '%s\n' "$question" >>"$ASKED"
    fi
}

# beside FUNCTION WORD...: where a profile lets some rows run at once, in a copy of this shell beside the others,
# until `together`; what it prints is shown in one piece when it has ended. Else here and now.
beside() {
    if ((at_once == 1)); then
        "$@"
        return
    fi
    ((${#copies[@]} < at_once)) || await_copy
    local log errors
    log=$(mktemp)
    errors=$log.err
    [[ ! /dev/stdout -ef /dev/stderr ]] || errors=$log # both go to one place: they stay in order
    (
        trap 'exit 143' TERM # when the command at work has ended
        "$@"
    ) >>"$log" 2>>"$errors" &
    copies+=("$! $log")
}

# together: wait for all that runs beside.
together() {
    while ((${#copies[@]})); do await_copy; done
    remember
}

# await_copy: wait for the oldest, return its exit code; what a failed one printed is shown last, by `stopped`.
await_copy() {
    local pid log code=0
    read -r pid log <<<"${copies[0]}"
    wait "$pid" || code=$?
    copies=("${copies[@]:1}") # not before: a signal ends the wait, and `stopped` waits again
    if ((code)); then failed=("$log" "${failed[@]}"); else show_log "$log"; fi
    return "$code"
}

# show_log LOG: and remove it.
show_log() {
    local code=0
    [[ ! -e $1.err ]] || cat "$1.err" >&2 || code=$?
    cat "$1" || code=$?
    rm -f "$1" "$1.err"
    return "$code"
}

# other OUTPUT COMMAND...: a command that is none of dretrieve's, and the file or folder that it makes.
other() {
    if [[ -n ${DRY_RUN:-} ]]; then
        planned other "$@"
        return
    fi
    [[ -e $1 ]] || in_time
    "${@:2}"
}

# into FILE COMMAND...: what the command prints goes to that file.
into() {
    if [[ -n ${DRY_RUN:-} ]]; then "${@:2}"; else "${@:2}" >"$1"; fi
}

# choose_seeds SEED...: fill the array `seeds` with these, or with those of them that $SEEDS names.
choose_seeds() {
    local seed
    read -ra seeds <<<"${SEEDS:-$*}"
    ((${#seeds[@]})) || refuse "SEEDS='$SEEDS' names no seed; give some of $*"
    for seed in "${seeds[@]}"; do
        [[ " $* " == *" $seed "* ]] ||
            refuse "SEEDS=$SEEDS: $seed is none of the seeds that expected.yaml names, $*; no report would read it"
    done
}

# in_time [WORD...]: end the recipe when this call's MINUTES are over, unless what the command makes stands
# finished: a look at that is short. (If it went stale, it is made again all the same.)
in_time() {
    [[ -n $last_second ]] && ((SECONDS >= last_second)) || return 0
    ! stands "$@" || return 0
    say "The $MINUTES minutes of this call are over."
    exit 75
}

# stands [WORD...]: is there what the command makes, with its manifest? A shard has its own.
stands() {
    local word before="" output="" shard=0/1
    for word in "$@"; do
        case $before in
        --output) output=$word ;;
        --shard) shard=$word ;;
        esac
        before=$word
    done
    [[ -e $output.manifest.json || -e $output/manifest.json ||
        -e $(printf '%s/shard-%05d-of-%05d.manifest.json' "$output" "${shard%/*}" "${shard#*/}") ]]
}

# minutes_left: how many minutes of this call's are left, for --max-minutes; 0 where they have no end.
minutes_left() {
    local left=$((${last_second:-0} - SECONDS))
    if [[ -z $last_second ]]; then
        echo 0
    elif ((left < 6)); then
        echo 0.1 # the least that is not "no end"
    else
        echo "$((left / 60)).$((left % 60 / 6))"
    fi
}

# planned KIND WORD...: write the words down for the plan instead of running them.
planned() {
    printf '%s\x1f' "$@" >>"$plan"
    printf '\n' >>"$plan"
}

# recipe NAME "what it does" [PROFILE...]: choose the profile and the work folder, say both.
recipe() {
    recipe_name=$1
    local purpose=$2 profiles=("${@:3}")
    if (($# > 2)); then
        PROFILE=${PROFILE:-$3}
        [[ " ${profiles[*]} " == *" $PROFILE "* ]] ||
            refuse "PROFILE=$PROFILE is none of this recipe's profiles: ${profiles[*]}"
        WORK=${WORK:-work/$recipe_name/$PROFILE}
    else
        WORK=${WORK:-work/$recipe_name}
    fi
    MINUTES=${MINUTES:-0}
    [[ $MINUTES =~ ^[0-9]+$ ]] || refuse "MINUTES=$MINUTES is no whole number; 0 lets a call take as long as it takes"
    step_number=0 step_title=start
    SECONDS=0
    local now
    now=$(date +%s)
    ((10#$MINUTES == 0)) || last_second=$((60 * 10#$MINUTES + ${BEGAN:-$now} - now))
    trap 'stopped $?' EXIT
    trap 'exit 130' INT  # a signal ends the recipe when the command at work has saved what it has
    trap 'exit 143' TERM
    [[ -n ${DRY_RUN:-} ]] || mkdir -p "$WORK"
    say "$recipe_name${PROFILE:+ ($PROFILE)}: $purpose"
    say "everything goes to $WORK"
}

# step "title": a banner with the time since the start.
step() {
    step_number=$((step_number + 1)) step_title=$1
    if [[ -n ${DRY_RUN:-} ]]; then
        planned step "$step_number. $1"
        return
    fi
    say ""
    say "[$(clock)] $step_number. $step_title"
}

# finish ["what to look at next"...]: the last line of a recipe.
finish() {
    trap - EXIT
    [[ -z ${PLAN:-} ]] || return 0
    if [[ -n ${DRY_RUN:-} ]]; then
        show_plan
        return
    fi
    say ""
    say "[$(clock)] done."
    local line
    for line in "$@"; do say "  $line"; done
}

# show_plan: print what was written down, each command with its own estimate.
show_plan() {
    local code=0
    PYTHONPATH=$ROOT:$ROOT/cli${PYTHONPATH:+:$PYTHONPATH} "${PYTHON:-python3}" -m dretrieve_cli.plan "$plan" ||
        code=$?
    rm -f "$plan"
    return "$code"
}

# stopped CODE: what a recipe says when it ends before `finish`.
stopped() {
    [[ -z ${plan:-} || -n ${PLAN:-} ]] || rm -f "$plan"
    trap '' INT TERM # a second signal changes nothing: the commands at work are waited for
    local part
    for part in "${copies[@]}"; do kill "${part%% *}" 2>/dev/null || true; done
    while ((${#copies[@]})); do await_copy || true; done
    for part in "${failed[@]}"; do show_log "$part" || true; done
    say ""
    say "[$(clock)] stopped in step $step_number, \"$step_title\" (exit code $1)."
    say "  The same command goes on from here; finished steps are not run again."
}

# refuse "sentence": end the recipe before it does anything, for it was called with wrong words.
refuse() {
    trap - EXIT
    [[ -z ${plan:-} || -n ${PLAN:-} ]] || rm -f "$plan"
    say "$1"
    exit 2
}

# clock: minutes and seconds since `recipe`.
clock() {
    printf '%d:%02d' $((SECONDS / 60)) $((SECONDS % 60))
}

# say "text": one line to stderr, where progress goes; results are on stdout.
say() {
    printf '%s\n' "$1" >&2
}
