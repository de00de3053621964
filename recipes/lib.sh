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
#   SEEDS      which seeds a recipe runs        (default: what it says itself, see `choose_seeds`)
#   DRY_RUN    1: only print the plan: every command with what its own --dry-run says
#              (so does the word --dry-run behind the recipe's name)
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

[[ ${1:-} != --dry-run ]] || DRY_RUN=1
[[ -z ${DRY_RUN:-} ]] || plan=$(mktemp)

declare -A asked=()
if [[ -n ${ASKED:-} ]]; then
    while IFS= read -r line; do asked[$line]=1; done <"$ASKED"
fi

# The command of every step. Found in this checkout, installed or not, from any folder.
dretrieve() {
    if [[ -n ${DRY_RUN:-} ]]; then
        planned call "$@"
        return
    fi
    [[ -z ${asked[$*]:-} ]] || return 0
    PYTHONPATH=$ROOT:$ROOT/cli${PYTHONPATH:+:$PYTHONPATH} "${dretrieve_words[@]}" "$@" || return
    if [[ -n ${ASKED:-} && $1 != array ]]; then # the state of an array is asked for more than once
        asked[$*]=1
        printf '%s\n' "$*" >>"$ASKED"
    fi
}

# other OUTPUT COMMAND...: a command that is none of dretrieve's, and the file or folder that it makes.
other() {
    if [[ -n ${DRY_RUN:-} ]]; then planned other "$@"; else "${@:2}"; fi
}

# into FILE COMMAND...: what the command prints goes to that file.
into() {
    if [[ -n ${DRY_RUN:-} ]]; then "${@:2}"; else "${@:2}" >"$1"; fi
}

# choose_seeds SEED...: fill the array `seeds` with $SEEDS, or with these.
choose_seeds() {
    # shellcheck disable=SC2034  # the recipe loops over it
    read -ra seeds <<<"${SEEDS:-$*}"
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
        if [[ " ${profiles[*]} " != *" $PROFILE "* ]]; then
            say "PROFILE=$PROFILE is none of this recipe's profiles: ${profiles[*]}"
            exit 2
        fi
        WORK=${WORK:-work/$recipe_name/$PROFILE}
    else
        WORK=${WORK:-work/$recipe_name}
    fi
    step_number=0 step_title=start
    SECONDS=0
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
    PYTHONPATH=$ROOT:$ROOT/cli${PYTHONPATH:+:$PYTHONPATH} "${PYTHON:-python3}" "$ROOT/recipes/plan.py" "$plan" ||
        code=$?
    rm -f "$plan"
    return "$code"
}

# stopped CODE: what a recipe says when it ends before `finish`.
stopped() {
    [[ -z ${plan:-} ]] || rm -f "$plan"
    say ""
    say "[$(clock)] stopped in step $step_number, \"$step_title\" (exit code $1)."
    say "  The same command goes on from here; finished steps are not run again."
}

# clock: minutes and seconds since `recipe`.
clock() {
    printf '%d:%02d' $((SECONDS / 60)) $((SECONDS % 60))
}

# say "text": one line to stderr, where progress goes; results are on stdout.
say() {
    printf '%s\n' "$1" >&2
}
