#!/usr/bin/env bash
# Stands in for Python in a dry run of a recipe: keeps the record that recipes/plan.py would read.
cat "$2" >>"$KEPT_PLAN"
