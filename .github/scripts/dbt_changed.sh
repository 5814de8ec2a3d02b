#!/usr/bin/env bash
# Builds with dbt what differs from another commit, and what depends on it; the rest is as that commit built it (defer).
#
#   dbt_changed.sh COMMIT
#
# All on a sandbox of its own, with data of its own, under .cache/dbt-changed.
set -euo pipefail
cd "$(dirname "$0")/../.."
base=$(git merge-base HEAD "${1:?the commit to compare with, such as origin/main}") \
  || { echo "dbt_changed: no commit here is in the history of both HEAD and $1; a shallow clone gets it by git fetch --unshallow" >&2; exit 1; }
work=$PWD/.cache/dbt-changed
sandbox=("${SANDBOX_COMMAND:-$PWD/.venvs/sandbox/bin/sandbox}" --home "$work/sandbox")
meltano=${MELTANO_COMMAND:-$PWD/.venvs/meltano/bin/meltano}
dbt=$PWD/.meltano/utilities/dbt-bigquery/venv/bin/dbt

rm -rf "$work"
mkdir -p "$work/base"
git archive "$base" transform | tar -x -C "$work/base"
trap '"${sandbox[@]}" stop' EXIT
"${sandbox[@]}" start --universe characters=120,locations=20,episodes=10
environment=$("${sandbox[@]}" env); eval "$environment"
export DBT_SEND_ANONYMOUS_USAGE_STATS=false DATASET_PREFIX=local_ DBT_TARGET=local

echo "Landing: tap and target of the change"
MELTANO_DATABASE_URI=sqlite:///$work/meltano.db "$meltano" --log-level warning run tap-rickandmorty target-bigquery

# What reads a field or a table that the change takes away fails here; where it is still there it is built again below.
echo "Building: the dbt project of ${base:0:12}"
DBT_TARGET_PATH=$work/base-target DBT_LOG_PATH=$work/base-logs \
  "$dbt" --quiet --no-version-check run --project-dir "$work/base/transform" --profiles-dir "$work/base/transform" || [[ $? == 1 ]]

echo "Building: what differs from it"
DBT_TARGET_PATH=$work/target DBT_LOG_PATH=$work/logs \
  "$dbt" --warn-error-options '{}' build --project-dir transform --profiles-dir transform \
  --select state:modified+ result:error+ result:skipped --defer --state "$work/base-target"
