#!/usr/bin/env bash
# Stands in for Python in a dry run of a recipe: keeps the record that dretrieve_cli.plan would read.
cat "$3" >>"$KEPT_PLAN"
