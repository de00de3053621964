#!/usr/bin/env bash
# Stands in for dretrieve in a recipe: writes the words of the call to $RECORDED_CALLS and does nothing.
{
    printf '%s\x1f' "$@"
    printf '\n'
} >>"$RECORDED_CALLS"
