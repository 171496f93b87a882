#!/bin/sh
# Compiles the molt of a commit into one file. Usage: scripts/compile_release.sh COMMIT OUTPUT
# The environment is that of compile.sh. The commit must be in this clone: `git fetch --unshallow` brings it.
set -eu
cd "$(dirname "$0")/.."
commit=$1
output=$(realpath -m "$2")
if ! git cat-file -e "$commit^{commit}" 2>/dev/null; then
  echo "compile_release.sh: commit $commit is not in this clone: run 'git fetch --unshallow --tags'" >&2
  exit 1
fi
sources=$(mktemp -d)
trap 'rm -rf "$sources"' EXIT
git archive "$commit" | tar -x -C "$sources"
sh "$sources/scripts/compile.sh" "$output"
