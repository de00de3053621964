# shellcheck shell=bash
# What every recipe begins with. A recipe sources this file, calls `recipe` once, `step` before each part, and
# `finish` at its end; in between stand dretrieve commands, as one would type them. README.md explains the
# variables WORK, PROFILE, PYTHON, DRETRIEVE, ASKED, SEEDS, MINUTES, DRY_RUN. Besides there are
#
#   BEGAN   from when MINUTES count, in seconds since 1970 (default now; `make reproduce` gives all tables its own)
#   PLAN    a file: only write the commands down there, for `dretrieve report`, which asks each of them
#
# Run a recipe again whenever you like: a command whose result is finished and fits says "up to date", one that was
# interrupted goes on where it stopped, and one whose options or inputs changed is made again.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export DRETRIEVE_STALE=replace  # the work folder is the recipe's own: what went stale there is made again
export PYTHONPATH=$ROOT:$ROOT/cli${PYTHONPATH:+:$PYTHONPATH} # this checkout, installed or not, from any folder

if [[ -z ${PYTHON:-} ]]; then
    PYTHON=python3
    [[ ! -x $ROOT/.venv/bin/python ]] || PYTHON=$ROOT/.venv/bin/python
fi
dretrieve_words=("$PYTHON" -m dretrieve_cli)
[[ -z ${DRETRIEVE:-} ]] || read -ra dretrieve_words <<<"$DRETRIEVE"

[[ ${1:-}${PLAN:+--dry-run} != --dry-run ]] || DRY_RUN=1
[[ -z ${DRY_RUN:-} ]] || plan=${PLAN:-$(mktemp)}

last_second="" # of $SECONDS, when this call's MINUTES are over; nothing where they have no end
at_once=1      # so many rows run side by side, see `beside`
copies=()      # those that do: process and log, and in LOG.err what goes to stderr
failed=()      # the logs of those that failed, the first one last

# dretrieve WORD...: the command of every step.
dretrieve() {
    local question=$*
    question=${question%% --max-minutes *} # however long it may take, it is the same question
    ! planned call "$@" || return 0
    if [[ $1 == array || $1 == report ]]; then # looked at in any case, and more than once
        "${dretrieve_words[@]}" "$@" || return
        return 0
    fi
    ! grep -qsxF -- "$question" "${ASKED:-/dev/null}" || return 0
    in_time "$@"
    "${dretrieve_words[@]}" "$@" || return
    [[ -z ${ASKED:-} ]] || printf '%s\n' "$question" >>"$ASKED"
}

# one_python: from here on one Python that has loaded everything answers the commands of a recipe that computes for
# seconds, or for a tenth of one; see warm.py.
one_python() {
    [[ -z ${DRETRIEVE:-}${DRY_RUN:-} ]] || return 0
    dretrieve_words=("$PYTHON" -SE "$ROOT/recipes/warm.py")
    (dretrieve --version >/dev/null 2>&1 &) # it loads beside the first step
}

# other OUTPUT COMMAND...: a command that is none of dretrieve's, and the file or folder that it makes.
other() {
    ! planned other "$@" || return 0
    [[ -e $1 ]] || in_time
    "${@:2}"
}

# planned KIND WORD...: in a dry run write the words down for the plan.
planned() {
    [[ -n ${DRY_RUN:-} ]] || return 1
    printf '%s\x1f' "$@" >>"$plan"
    printf '\n' >>"$plan"
}

# spent FOLDER...: let the vectors of finished embeddings go, of which all was made; `.spent` stands for each file, so
# that their commands say "up to date". wanted RUN FOLDER...: before they are made; where the run is not there, those
# that were let go are made again.
spent() {
    local folder file
    [[ -z ${DRY_RUN:-} ]] || return 0
    for folder in "$@"; do
        for file in "$folder"/*.vectors.npy; do
            [[ ! -e $file ]] || { : >"$file.spent" && rm "$file"; }
        done
    done
}
wanted() {
    local folder
    [[ -z ${DRY_RUN:-} && ! -e $1 ]] || return 0
    for folder in "${@:2}"; do [[ -z $(compgen -G "$folder/*.spent") ]] || rm -rf "$folder"; done
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
}

# await_copy: wait until one has ended, return its exit code; what a failed one printed is shown last, by `stopped`.
await_copy() {
    local pid log place code=0
    wait -n "${copies[@]%% *}" || :
    for place in "${!copies[@]}"; do
        read -r pid log <<<"${copies[$place]}"
        kill -0 "$pid" 2>/dev/null || break
    done
    wait "$pid" || code=$?
    # not before: a signal ends the wait, and `stopped` waits again
    copies=("${copies[@]:0:place}" "${copies[@]:place+1}")
    if ((code)); then failed=("$log" "${failed[@]}"); else show_log "$log"; fi
    return "$code"
}

show_log() {
    local code=0
    [[ ! -e $1.err ]] || cat "$1.err" >&2 || code=$?
    cat "$1" || code=$?
    rm -f "$1" "$1.err"
    return "$code"
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
        [[ $before != --output ]] || output=$word
        [[ $before != --shard ]] || shard=$word
        before=$word
    done
    [[ -e $output.manifest.json || -e $output/manifest.json ||
        -e $(printf '%s/shard-%05d-of-%05d.manifest.json' "$output" "${shard%/*}" "${shard#*/}") ]]
}

# minutes_left: how many minutes of this call's are left, for --max-minutes; 0 where they have no end.
minutes_left() {
    local left=$((${last_second:-SECONDS} - SECONDS))
    ((left >= 6)) || left=${last_second:+6} # 0.1, the least that is not "no end"
    echo "$((left / 60)).$((left % 60 / 6))"
}

# recipe NAME "what it does" [PROFILE...]: choose the profile and the work folder, say both.
recipe() {
    local purpose=$2 profiles=("${@:3}") now
    recipe_name=$1 step_number=0 step_title=start SECONDS=0 MINUTES=${MINUTES:-0}
    if (($# > 2)); then
        PROFILE=${PROFILE:-$3}
        [[ " ${profiles[*]} " == *" $PROFILE "* ]] ||
            refuse "PROFILE=$PROFILE is none of this recipe's profiles: ${profiles[*]}"
    fi
    WORK=${WORK:-work/$recipe_name${3:+/$PROFILE}}
    [[ $MINUTES =~ ^[0-9]+$ ]] || refuse "MINUTES=$MINUTES is no whole number; 0 lets a call take as long as it takes"
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
    ! planned step "$step_number. $1" || return 0
    say ""
    say "[$(clock)] $step_number. $step_title"
}

# finish ["what to look at next"...]: the last line of a recipe; of a dry run its plan.
finish() {
    local line code=0
    trap - EXIT
    [[ -z ${PLAN:-} ]] || return 0
    if [[ -n ${DRY_RUN:-} ]]; then
        "$PYTHON" -m dretrieve_cli.plan "$plan" || code=$?
        rm -f "$plan"
        return "$code"
    fi
    say ""
    say "[$(clock)] done."
    for line in "$@"; do say "  $line"; done
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
clock() { printf '%d:%02d' $((SECONDS / 60)) $((SECONDS % 60)); }

# say "text": one line to stderr, where progress goes; results are on stdout.
say() { printf '%s\n' "$1" >&2; }
