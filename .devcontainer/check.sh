#!/usr/bin/env bash
# Says whether everything that README, `make test` and the deployment guide need is there; status 1 when something is not.
set -uo pipefail
missing=0

tool() {
  local name=$1 wanted=$2 said
  shift 2
  if said=$("$@" 2>&1) && said=$(grep -m 1 -E "$wanted" <<< "$said"); then
    printf '%-10s %s\n' "$name" "$said"
  else
    printf '%-10s not there: expected %s from: %s\n' "$name" "$wanted" "$*" >&2
    missing=1
  fi
}

writable() {
  local folder
  for folder in "$@"; do
    if [[ -d $folder && -w $folder ]]; then continue; fi
    printf '%s cannot be written by %s\n' "$folder" "$(id -un)" >&2
    missing=1
  done
}

tool bash 'version [45]' bash --version
tool chromium 'Chromium' chromium --version
tool gcloud 'Google Cloud SDK' gcloud --version
tool git 'git version' git --version
tool go 'go1\.' go version
tool java 'version "25' "${KESTRA_JAVA_HOME:-${JAVA_HOME:-/usr}}/bin/java" -version
tool make 'GNU Make' make --version
tool maven 'Apache Maven 3' mvn --batch-mode --version
tool python 'Python 3\.1[1-4]\.' python3 --version
tool terraform 'Terraform v1\.(1[1-9]|[2-9][0-9])' terraform version
writable . .venvs .meltano .cache
exit "$missing"
