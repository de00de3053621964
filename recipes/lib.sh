# shellcheck shell=bash
# What every recipe begins with. A recipe sources this file, calls `recipe` once, `step` before each part,
# and `finish` at its end; in between stand dretrieve commands, exactly as one would type them.
#
#   WORK       where everything goes            (default work/<recipe>, or work/<recipe>/<profile>)
#   PROFILE    how large it is run              (the recipe's header lists its profiles; the first is the default)
#   PYTHON     which Python runs dretrieve      (default: the checkout's .venv, else python3)
#   DRETRIEVE  the whole command in its place   (for example "srun dretrieve"; words are split at spaces)
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

# The command of every step. Found in this checkout, installed or not, from any folder.
dretrieve() {
    PYTHONPATH=$ROOT:$ROOT/cli${PYTHONPATH:+:$PYTHONPATH} "${dretrieve_words[@]}" "$@"
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
    mkdir -p "$WORK"
    say "$recipe_name${PROFILE:+ ($PROFILE)}: $purpose"
    say "everything goes to $WORK"
}

# step "title": a banner with the time since the start.
step() {
    step_number=$((step_number + 1)) step_title=$1
    say ""
    say "[$(clock)] $step_number. $step_title"
}

# finish ["what to look at next"...]: the last line of a recipe.
finish() {
    trap - EXIT
    say ""
    say "[$(clock)] done."
    local line
    for line in "$@"; do say "  $line"; done
}

# stopped CODE: what a recipe says when it ends before `finish`.
stopped() {
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
