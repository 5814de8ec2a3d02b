# Two commands do everything: `make run` and `make test`. What they need, they install.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
DRY_RUN := $(findstring n,$(firstword -$(MAKEFLAGS)))
MAKEFLAGS += --no-print-directory

VENVS := .venvs
export UV_PYTHON_DOWNLOADS := never
# Without bytecode each start compiles, ours and, at first, the packages'; uv reads this for Meltano's plugins too.
unexport PYTHONDONTWRITEBYTECODE
export UV_COMPILE_BYTECODE := 1
export UV_COMPILE_BYTECODE_TIMEOUT := 600
# Python 3.11 reads the environments' own paths in the locale's encoding, and cannot with C and a path beyond ASCII.
ifeq ($(findstring utf8,$(subst -,,$(subst F,f,$(subst T,t,$(subst U,u,$(or $(LC_ALL),$(LC_CTYPE),$(LANG))))))),)
export LC_ALL := C.UTF-8
endif
export SANDBOX_COMMAND := $(CURDIR)/$(VENVS)/sandbox/bin/sandbox
export MELTANO_COMMAND := $(CURDIR)/$(VENVS)/meltano/bin/meltano
export MELTANO_SEND_ANONYMOUS_USAGE_STATS := false
# Meltano keeps each run's log in the home folder, which may be missing or not writable.
export XDG_STATE_HOME := $(CURDIR)/.meltano
# What would lead elsewhere: another repository in a hook of git's, another project of Meltano's, other code than the locks', a TZ that is no zone.
unexport GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_COMMON_DIR GIT_OBJECT_DIRECTORY GIT_PREFIX MELTANO_PROJECT_ROOT PYTHONPATH PYTHONHOME PIP_PREFIX PIP_TARGET TZ
# The environments have one Python: the one that is named, else the one that they were installed with, else python3.
INSTALLED_PYTHON := $(file < $(VENVS)/.python)
ifndef PYTHON
PYTHON := $(or $(shell command -v "$(INSTALLED_PYTHON)"),python3)
endif
PYTHON_PATH := $(shell "$(PYTHON)" -ISc 'import os, sys; (3, 11) <= sys.version_info[:2] <= (3, 14) and print(os.path.realpath(sys.executable))' 2>/dev/null)
# They name this folder: in a copy, or after a move, their programs would run the other folder's code.
INSTALLED_FOR := $(VENVS)/.folder
anew = $(shell echo "make: $(VENVS) was installed for another $1; what is needed is installed anew" >&2; $(if $(DRY_RUN),exit;) \
  { test -w $(VENVS) && rm -rf $(VENVS) .meltano/{extractors,loaders,utilities,.done,.locks}; } 2>/dev/null \
  || echo "make: $(VENVS) cannot be removed: make doctor says why" >&2)
ifneq ($(file < $(INSTALLED_FOR)),$(if $(wildcard $(INSTALLED_FOR)),$(CURDIR)))
$(call anew,folder)
else ifneq ($(INSTALLED_PYTHON),$(PYTHON_PATH))
$(if $(and $(INSTALLED_PYTHON),$(PYTHON_PATH)),$(call anew,Python))
endif
DEV := $(VENVS)/dev/bin
SQL_TOOLS := $(VENVS)/sql/bin
IMAGE_NAME ?= rickandmorty-pipeline
OSV_VERSION := v2.6.0
# dbt 2's engine, which transform/ does not run on yet, but is to parse under.
DBT_2 := dbt==2.0.0rc196
METRICFLOW := dbt-metricflow==0.15.0 dbt-bigquery==1.12.1
OSV := .cache/osv-scanner-$(OSV_VERSION)/osv-scanner
LOCKS := $(wildcard requirements/*.txt)
# report, orchestrate, terraform and benchmarks may be removed: a rule does without what is not there (docs/onboarding.md).
PACKAGES := tap-rickandmorty target-bigquery $(wildcard report)
# The program of Kestra's flows, which lives beside Meltano.
JOB := $(wildcard orchestrate/meltano-job)
UV = $(shell command -v uv || echo $(VENVS)/uv/bin/uv)
# Meltano's `uv` back end and the plugins' installation find uv on the PATH.
export PATH := $(PATH):$(CURDIR)/$(VENVS)/uv/bin

.PHONY: help run build retract query shell up down doctor tables test foreign test-faults test-kestra test-image test-dbt-2 test-metricflow test-terraform test-provider bench reliability-peers new entity install check lint lint-sql types format pytest docs locks clean \
	dbt-changed contract site links audit image scan-image plan apply providers deploy-flows

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

# What a person types goes to the program by the environment, as it is: neither make nor a shell reads it.
TYPED := DATA LIVE VERSION NAME FOLDER PARTS API EMPTY REASON RUN STREAM UNDO AS_OF SAMPLE SINGULAR RESOURCE KEY SINCE ALLOW ARGS ENVIRONMENT STATE_BUCKET
# A variable of the same name that was there already, such as NAME on WSL, is not typed. Only an SQL may be.
NOT_TYPED := $(foreach name,$(TYPED),$(if $(and $(filter environment,$(origin $(name))),$(value $(name))),$(name)))
# What is typed with nothing behind it, as by STREAM=$S where the shell has no S, is not left out. PARTS= alone means something.
BLANK := $(foreach name,$(filter-out PARTS,$(TYPED)),$(if $(filter command,$(origin $(name))),$(if $(value $(name)),,$(name))))
$(foreach name,$(NOT_TYPED),$(eval override $(name) :=))
$(foreach name,SQL $(TYPED),$(eval override $(name) := $$(value $(name))))
export SQL $(TYPED)
# Nor does a name that nobody reads: make retract … STREAMS=episodes would take back every stream. What starts so is a program's.
PROGRAMS := DBT_% GOOGLE_% KESTRA_% MELTANO_% SANDBOX_% TAP_% TARGET_% TF_%
UNKNOWN := $(filter-out SQL $(TYPED) $(PROGRAMS) BASE IMAGE IMAGE_NAME PYTHON UV,\
  $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name))))
$(if $(and $(UNKNOWN),$(filter 0,$(MAKELEVEL))),$(error $(UNKNOWN): expected a name that make help shows; what a program reads goes before make: $(firstword $(UNKNOWN))=… make …))
typed = $(foreach name,$(filter $1,$(NOT_TYPED)),$(warning $(name) of the environment is not used; type: make $@ $(name)=…))$(foreach name,$(filter $1,$(BLANK)),$(error $(name)= has no value: type one, or leave it out))
needed = $(if $($1),,$(error $1 is not given: make $@ $(or $2,ENVIRONMENT=prod STATE_BUCKET=…)))
RETRACTED = RUN=run REASON='why'
# The option for a variable that is given.
option = $(typed)$${$1:+$2="$$$1"}
# What a variable that is 1 or is not given adds: 0 or `no` is not taken for 1.
flag = $(typed)$(if $(filter-out 1,$($1)),$(error $1=$($1): expected $1=1, or leave it out))$(if $($1),$2)
# After make new EMPTY=1 there is nothing to run, and no SQL to check.
NO_ENTITY := $(findstring entities: [],$(file < entities.yml))
$(if $(and $(NO_ENTITY),$(filter run build retract up test lint-sql site,$(MAKECMDGOALS))),$(error there is no entity yet: make entity NAME=… SAMPLE=… adds the first (docs/onboarding.md)))
# make run, build and retract, one at a time.
ALONE := $(VENVS)/sandbox/bin/python scripts/run_alone.py

run: $(VENVS)/sandbox/.done $(VENVS)/meltano/.done .meltano/.done .meltano/.locks ## Run the whole pipeline, no cloud needed: make run [DATA=folder | LIVE=1 | VERSION=2]
	@exec $(VENVS)/sandbox/bin/python scripts/run_pipeline.py $(call option,DATA,--data) $(call flag,LIVE,--live) $(call option,VERSION,--version)

query: $(VENVS)/sandbox/.done ## Ask the local BigQuery: make query SQL='SELECT …'
	@exec "$$SANDBOX_COMMAND" exec --parts storage,bigquery -- "$$SANDBOX_COMMAND" query -- "$$SQL"

build: $(VENVS)/sandbox/.done $(VENVS)/meltano/.done .meltano/.done ## Run dbt alone on the local BigQuery: make build [AS_OF=run]; AS_OF rebuilds the state after that run
	@$(call typed,AS_OF)DBT_AS_OF="$$AS_OF" exec $(ALONE) "$$MELTANO_COMMAND" run dbt-bigquery:build

retract: $(VENVS)/sandbox/.done $(VENVS)/meltano/.done .meltano/.done ## Take back what a run loaded: make retract RUN=run REASON='why' [STREAM=characters] [UNDO=1]
	@$(call typed,RUN REASON STREAM)$(call flag,UNDO)$(call needed,RUN,$(RETRACTED))$(if $(UNDO),,$(call needed,REASON,$(RETRACTED)))exec $(ALONE) "$$MELTANO_COMMAND" invoke dbt-bigquery run-operation retract --args "$$("$(PYTHON)" -c \
	  'import json, os; e = os.environ; print(json.dumps({"run_id": e["RUN"], "reason": e["REASON"], "stream": e["STREAM"], "undo": bool(e["UNDO"])}))')"

shell: $(VENVS)/sandbox/.done ## Open an SQL prompt on the local BigQuery; after make up it starts at once
	@exec "$$SANDBOX_COMMAND" exec --parts storage,bigquery -- "$$SANDBOX_COMMAND" shell

up: $(VENVS)/sandbox/.done ## Start the sandbox and leave it running: make up [DATA=folder | LIVE=1]
	@exec "$$SANDBOX_COMMAND" start $(call option,DATA,--data) $(call flag,LIVE,--live)

down: $(VENVS)/sandbox/.done ## Stop the sandbox; data stays
	@exec "$$SANDBOX_COMMAND" stop

doctor: ## Check this machine; each problem has its remedy
	@"$(PYTHON)" scripts/doctor.py

tables: $(VENVS)/sandbox/.done ## List the local BigQuery's tables and their rows
	@"$$SANDBOX_COMMAND" exec --parts storage,bigquery -- "$$SANDBOX_COMMAND" query --tables

# Other projects' targets and taps, for the tests of ours.
FOREIGN := $(patsubst tap-rickandmorty/tests/targets/%.txt,$(VENVS)/target-%/.done,$(wildcard tap-rickandmorty/tests/targets/*.txt)) \
	$(patsubst target-bigquery/tests/taps/%.txt,$(VENVS)/tap-%/.done,$(wildcard target-bigquery/tests/taps/*.txt))
# Four workers keep two cores busy: many tests wait for other programs.
test: install $(VENVS)/checkov/.done foreign check ## Run lint, types and every test that is not slow, offline
	@$(MAKE) pytest ARGS="-n 4 --dist loadgroup -m 'not slow'"

foreign: $(FOREIGN) ## Install other projects' taps and targets, which the tests run with ours

# What a project of one's own has no tests of is skipped by its name.
tested = $(if $(wildcard $(1)),@$(MAKE) pytest ARGS="$(1) $(2)",@echo "make $@: skipped, as $(1) is not in this project")

test-faults: ## Run the fault matrix alone (docs/reliability.md)
	$(call tested,tests/test_fault_matrix.py,$(wildcard tests/test_foreign_sources.py) target-bigquery/tests/test_target_singer.py -n 2)

test-kestra: ## Run the tests of the flows on Kestra's engine alone
	$(call tested,tests/kestra,-n 3 --dist loadgroup)

test-image: ## Build the image and run it on the sandbox; needs root and buildah
	$(call tested,tests/test_image.py,-rP)

test-dbt-2: install $(VENVS)/dbt-2/.done ## Parse transform/ with dbt 2's engine, which is installed for it
	$(call tested,tests/test_dbt_2.py)

test-metricflow: install $(VENVS)/metricflow/.done ## Ask for the metrics with dbt's own engine, which is installed for it
	$(call tested,tests/test_metricflow.py)

test-terraform: $(VENVS)/checkov/.done ## Run Terraform's checks and tests alone
	$(call tested,tests/terraform)

test-provider: ## Apply Terraform with the registry's provider, against local stand-ins of Google's APIs
	$(if $(wildcard terraform),@PYTHONPATH=testkit/src terraform/tests/real_provider/apply.py,@echo "make $@: skipped, as terraform/ is not in this project")

# The peers are measured, never shipped: pinned without hashes, and not audited.
BENCHED := $(patsubst benchmarks/requirements/%.txt,$(VENVS)/bench-%/.done,$(wildcard benchmarks/requirements/*.txt))
bench: install $(BENCHED) ## Measure ours and the peers: make bench ARGS="--size 100k --rounds 3"
	$(call typed,ARGS)$(DEV)/python benchmarks/bench.py $(ARGS)

reliability-peers: install $(BENCHED) ## Inject the faults of the matrix into z3-target-bigquery and ours
	$(call typed,ARGS)$(DEV)/python benchmarks/reliability_peers.py $(ARGS)

docs: $(VENVS)/dev/.done ## Rewrite what is generated from entities.yml, tap, target and test cases
	$(DEV)/python scripts/generated_files.py

entity: $(VENVS)/dev/.done ## Write what an entity needs, from a sample of its records: make entity NAME=vehicles SAMPLE=vehicles.jsonl [SINGULAR= RESOURCE= KEY= SINCE=]
	@$(call typed,NAME SAMPLE)exec $(DEV)/python scripts/new_entity.py "$$NAME" --sample "$$SAMPLE" $(call option,SINGULAR,--singular) \
	  $(call option,RESOURCE,--resource) $(call option,KEY,--key) $(call option,SINCE,--since)

new: $(VENVS)/dev/.done ## Make a project of your own: make new NAME=library FOLDER=../library PARTS="report kestra terraform benchmarks" [EMPTY=1 API=https://…]
	@$(call typed,NAME FOLDER PARTS)exec $(DEV)/python scripts/new_project.py $(call flag,EMPTY,--empty) $(call option,API,--api) "$$NAME" "$$FOLDER" $$PARTS

install: $(VENVS)/dev/.done $(VENVS)/sandbox/.done $(VENVS)/meltano/.done .meltano/.done ## Install every environment

check: $(VENVS)/dev/.done $(VENVS)/sql/.done $(VENVS)/sandbox/.done .meltano/.done ## Style, types, and the SQL of transform/
	@$(MAKE) $(if $(findstring jobserver,$(MAKEFLAGS)),,--jobs 2) --output-sync $(if $(NO_ENTITY),,lint-sql) lint types

lint: $(VENVS)/dev/.done .meltano/.done
	$(DEV)/ruff check .
	$(DEV)/ruff format --check .
	$(DEV)/yamllint --strict .
	$(DEV)/shellcheck .ci/run .github/scripts/dbt_changed.sh .devcontainer/check.sh
	$(DEV)/hadolint Dockerfile .devcontainer/Dockerfile
	$(DEV)/python scripts/generated_files.py --check

# Each group of files with the packages of the environment that runs it; the tests folder by folder, as each has a conftest.py.
SANDBOX_SCRIPTS := $(wildcard scripts/run_*.py) scripts/doctor.py
TESTS := $(wildcard $(PACKAGES:%=%/tests) sandbox/tests tests $(if $(JOB),tests/kestra) $(patsubst %,tests/%,$(wildcard terraform)))
types: $(VENVS)/dev/.done $(VENVS)/sandbox/.done
	$(DEV)/mypy $(PACKAGES:%=%/src) testkit/src \
	  $(filter-out $(SANDBOX_SCRIPTS),$(wildcard scripts/*.py .github/scripts/*.py benchmarks/*.py docs/*.py terraform/tests/real_provider/*.py))
	for folder in $(TESTS); do $(DEV)/mypy $$folder/*.py; done
	$(DEV)/mypy --python-executable $(VENVS)/sandbox/bin/python sandbox/src $(SANDBOX_SCRIPTS)
	$(if $(JOB),$(DEV)/mypy --python-executable $(VENVS)/meltano/bin/python $(JOB)/src)

format: $(VENVS)/dev/.done ## Format the code
	$(DEV)/ruff check --fix .
	$(DEV)/ruff format .

pytest: $(VENVS)/dev/.done $(VENVS)/sandbox/.done .meltano/.done
	$(call typed,ARGS)$(DEV)/pytest $(ARGS)

# dbt asks BigQuery which tables there are before it compiles for sqlfluff: an empty local one answers.
lint-sql: $(VENVS)/sql/.done $(VENVS)/sandbox/.done ## Check the SQL of transform/ as BigQuery reads it, and the rules of dbt-bouncer.yml
	@mkdir -p .cache/dbt-lint
	@DBT_SEND_ANONYMOUS_USAGE_STATS=false DBT_TARGET_PATH="$$PWD/.cache/dbt-lint" DBT_LOG_PATH="$$PWD/.cache/dbt-lint" \
	  "$$SANDBOX_COMMAND" --home .cache/sandbox-lint exec --parts bigquery -- sh -c '$(SQL_TOOLS)/dbt --quiet parse --project-dir transform \
  --profiles-dir transform && $(SQL_TOOLS)/sqlfluff lint --processes 0 transform/models $(wildcard transform/tests)' 2>&1 \
  | awk '{ print } /^WARNING/ { skipped = 1 } END { if (skipped) print "make: sqlfluff cannot follow a template, and passes it unread: write it another way"; exit skipped }'
	$(SQL_TOOLS)/dbt-bouncer run --config-file dbt-bouncer.yml

dbt-changed: $(VENVS)/sandbox/.done .meltano/.done ## Build what differs from BASE with dbt, the rest deferred to it
	@.github/scripts/dbt_changed.sh $(or $(BASE),origin/main)

contract: $(VENVS)/dev/.done ## Compare the live API with the tap's schemas; talks to the live API
	@TAP_RICKANDMORTY_DRIFT_NEW_FIELD=fail TAP_RICKANDMORTY_DRIFT_UNKNOWN_VALUE=fail TAP_RICKANDMORTY_CONCURRENCY=2 \
	  $(DEV)/tap-rickandmorty --config=ENV > /dev/null

site: $(VENVS)/dev/.done $(VENVS)/sandbox/.done .meltano/.done ## Build the documentation, the dbt docs and the page into site/ (after make run)
	$(DEV)/sphinx-build -q -W --keep-going -b html docs site
	@"$$SANDBOX_COMMAND" exec --parts storage,bigquery -- "$$MELTANO_COMMAND" invoke dbt-bigquery:docs --static
	@mkdir -p site/dbt && cp transform/target/static_index.html site/dbt/index.html
	$(if $(wildcard report),@mkdir -p site/report && cp output/report.html site/report/index.html)

links: $(VENVS)/dev/.done ## Check every link of the documentation, over the network
	$(DEV)/sphinx-build -q -b linkcheck docs .cache/links

$(OSV):
	GOTOOLCHAIN=auto GOBIN="$$PWD/$(@D)" go install github.com/google/osv-scanner/v2/cmd/osv-scanner@$(OSV_VERSION)

# Its status is 1 when it finds anything; fixable.py says which of that fails.
fixable = { $(OSV) scan $(1) --config osv-scanner.toml --format json $(2) || [[ $$? -eq 1 ]]; } | .github/scripts/fixable.py
audit: $(OSV) ## Report known vulnerabilities of what the locks pin, over the network (Go)
	@$(call fixable,source,$(foreach lock,$(LOCKS),--lockfile requirements.txt:$(lock)))

scan-image: $(OSV) ## Report known vulnerabilities of the image (Docker and Go)
	@$(call fixable,image,$(IMAGE_NAME))

image: ## Build the container image
	docker build --tag $(IMAGE_NAME) .

TERRAFORM := terraform -chdir=terraform
# A typed text, one word per line: an address may have quotes, and blanks within them.
lines_of = $$(grep -oE '("(\\.|[^"\])*"|[^[:space:]])+' <<< "$$$1")
BY_LINE := set -f; IFS=$$'\n';
GUARD = $(TERRAFORM) show -json "$$ENVIRONMENT.tfplan" | scripts/plan_guard.py --allow $(call lines_of,ALLOW)
# Each environment has a state of its own: none is ever migrated, and no workspace that a shell or .terraform names is used.
plan apply: export TF_WORKSPACE := default
# An earlier plan is removed first, and so is one that failed: make apply finds only a plan that succeeded.
# Of what Terraform prints, a misspelt variable alone is shown: values are not for a log.
plan: ## Plan Terraform's changes; refused if data would be lost: make plan ENVIRONMENT=prod STATE_BUCKET=… [ALLOW='ADDRESS …']
	@$(call typed,ENVIRONMENT STATE_BUCKET ARGS ALLOW)$(call needed,ENVIRONMENT)$(call needed,STATE_BUCKET)rm -f "terraform/$$ENVIRONMENT.tfplan"
	@$(TERRAFORM) init -reconfigure -input=false "-backend-config=bucket=$${STATE_BUCKET#gs://}" "-backend-config=prefix=rickandmorty/$$ENVIRONMENT" > /dev/null
	@$(BY_LINE) $(TERRAFORM) plan -input=false "-out=$$ENVIRONMENT.tfplan" "-var-file=environments/$$ENVIRONMENT.tfvars" "-var-file=environments/$$ENVIRONMENT.site.tfvars" $(call lines_of,ARGS) \
	  | { ! grep -A 6 'undeclared variable' >&2; } || { rm -f "terraform/$$ENVIRONMENT.tfplan"; echo "make: no plan was made: \
terraform says why above; where it does not, leave -detailed-exitcode out of ARGS: what is changed is listed and counted" >&2; exit 1; }
	@$(BY_LINE) $(GUARD)
	@echo "With every value: $(TERRAFORM) show $$ENVIRONMENT.tfplan"

apply: ## Apply what make plan has planned: make apply ENVIRONMENT=prod [ALLOW='ADDRESS …']
	@$(call typed,ENVIRONMENT ALLOW)$(call needed,ENVIRONMENT)test -e "terraform/$$ENVIRONMENT.tfplan" \
	  || { echo "make: there is no plan of $$ENVIRONMENT: make plan ENVIRONMENT=$$ENVIRONMENT STATE_BUCKET=… makes one" >&2; exit 1; }
	@$(BY_LINE) $(GUARD)
	@$(TERRAFORM) apply -input=false "$$ENVIRONMENT.tfplan"

providers: ## Rewrite terraform/.terraform.lock.hcl for every platform, from the provider's registry; commit it
	@$(TERRAFORM) providers lock -platform=linux_amd64 -platform=linux_arm64 -platform=darwin_amd64 -platform=darwin_arm64

deploy-flows: ## Deploy flows, settings and the image's digest to Kestra (.github/scripts/deploy_flows.py)
	@.github/scripts/deploy_flows.py

# --- environments: one lock each, installed anew when its lock or its part's metadata changes -----------------------
# Another make of this folder may be at it already: then it is waited for, and nothing is left to do. Not every system has the program flock.
lock = "$(PYTHON_PATH)" -ISc 'import fcntl; fcntl.flock(9, fcntl.$1)'
once = { mkdir -p $(VENVS) && exec 9> "$(VENVS)/.$(notdir $(@D)).lock"; } || { "$(PYTHON)" scripts/doctor.py --problems; exit 1; }; \
  $(call lock,LOCK_EX | fcntl.LOCK_NB) 2>/dev/null || { echo "Another make installs $(@D): waiting for it"; $(call lock,LOCK_EX); }; \
  if [[ "$(findstring B,$(firstword -$(MAKEFLAGS)))$$(find $@ $^ -newer $@ 2>&1)" ]]; then
$(VENVS)/.python: $(if $(PYTHON_PATH),,no-python)
	@$(once) { command -v uv >/dev/null || { echo "Installing uv"; "$(PYTHON_PATH)" -m venv $(VENVS)/uv && \
	  $(VENVS)/uv/bin/python -m pip install --no-user --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt; } \
	  || { $(call installation_failed,uv); }; } && echo "$(PYTHON_PATH)" > $@; fi

no-python:
	@echo "make: Python 3.11 to 3.14 is needed, and $(PYTHON) is $$("$(PYTHON)" --version 2>/dev/null || echo 'not found')\
	; install one, or name one: make PYTHON=python3.12 …" >&2; exit 1

# How an installation fails: the problems of this machine that may be the reason, and one line.
installation_failed = "$(PYTHON)" scripts/doctor.py --problems || true; echo "make: $(1) could not be installed: look at the lines above; \
a package registry has to be reached, once; behind a proxy with a certificate of its own set UV_SYSTEM_CERTS=1, or SSL_CERT_FILE to its .pem file" >&2; exit 1

environment = @$(once) echo "Installing $(@D)" && { "$(UV)" venv --quiet --clear --python "$(PYTHON_PATH)" $(@D) && \
  "$(UV)" pip install --quiet --python $(@D)/bin/python $(1); } || { $(call installation_failed,$(@D)); } && pwd -P > $(INSTALLED_FOR) && touch $@; fi

# What of this project is installed beside a lock, editable.
EDITABLE_sandbox := sandbox
EDITABLE_meltano := $(JOB)
EDITABLE_dev := $(PACKAGES) testkit
# The lock is whole, without what requirements/dbt-bigquery.excluded leaves out.
OPTIONS_sql := --no-deps
.SECONDEXPANSION:
$(VENVS)/%/.done: requirements/%.txt $$(addsuffix /pyproject.toml,$$(EDITABLE_$$*)) | $(VENVS)/.python ; $(call environment,$(OPTIONS_$*) -r $< $(EDITABLE_$*:%=-e ./%))
$(VENVS)/metricflow/.done: requirements/metricflow.excluded | $(VENVS)/.python ; $(call environment,--excludes $< $(METRICFLOW))
$(VENVS)/dbt-2/.done: | $(VENVS)/.python ; $(call environment,$(DBT_2))
$(VENVS)/bench-%/.done: benchmarks/requirements/%.txt | $(VENVS)/.python ; $(call environment,-r $<)
$(VENVS)/target-%/.done: tap-rickandmorty/tests/targets/%.txt | $(VENVS)/.python ; $(call environment,-r $<)
$(VENVS)/tap-%/.done: target-bigquery/tests/taps/%.txt | $(VENVS)/.python ; $(call environment,-r $<)

.meltano/.done: meltano.yml requirements/dbt-bigquery.txt $(PACKAGES:%=requirements/%.txt) $(PACKAGES:%=%/pyproject.toml) $(VENVS)/meltano/.done
	@$(once) echo "Installing Meltano's plugins" && mkdir -p .meltano && \
	  "$$MELTANO_COMMAND" --log-level warning install $(if $(wildcard report),,$(PACKAGES) dbt-bigquery) > .meltano/install.log 2>&1 \
	  || { cat .meltano/install.log >&2; $(call installation_failed,Meltano's plugins); } && touch $@; fi

# Meltano drops a setting that is not in the lock; looked at when tap, target or a lock has changed.
.meltano/.locks: $(wildcard tap-rickandmorty/src/*/*.py target-bigquery/src/*/*.py plugins/*/*.lock) $(VENVS)/sandbox/.done .meltano/.done
	@if "$(VENVS)/sandbox/bin/python" scripts/generated_files.py --check plugin_locks; then touch $@; fi

# Hashes for what ships and for what a newcomer runs; versions for what only develops and checks.
# One package per line with all its hashes: an upgrade is a line of the diff.
PIN = "$(UV)" pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate
LOCK = $(PIN) --generate-hashes
locks: | $(VENVS)/.python ## Rewrite the locks with the newest versions allowed, and the plugin locks
	$(LOCK) --upgrade requirements/uv.in -o requirements/uv.txt
	$(LOCK) --upgrade requirements/meltano.in $(JOB:%=%/pyproject.toml) -o requirements/meltano.txt
	$(LOCK) --upgrade sandbox/pyproject.toml -o requirements/sandbox.txt
	$(LOCK) --upgrade --excludes requirements/dbt-bigquery.excluded requirements/dbt-bigquery.in -o requirements/dbt-bigquery.txt
	$(PIN) --upgrade --excludes requirements/dbt-bigquery.excluded requirements/sql.in -o requirements/sql.txt
	$(LOCK) --upgrade requirements/report.in -o requirements/report.txt
	$(PIN) --upgrade requirements/checkov.in -o requirements/checkov.txt
	$(LOCK) --upgrade tap-rickandmorty/pyproject.toml -o requirements/tap-rickandmorty.txt
	$(LOCK) --upgrade target-bigquery/pyproject.toml -o requirements/target-bigquery.txt
	$(PIN) --upgrade requirements/dev.in tap-rickandmorty/pyproject.toml target-bigquery/pyproject.toml --all-extras -o requirements/dev.txt
	sed -i -E ':next; /\\$$/ {N; s/ *\\\n */ /; b next}' $(LOCKS)
	$(MAKE) $(VENVS)/dev/.done
	$(DEV)/python scripts/generated_files.py plugin_locks

clean: ## Remove environments, the sandbox's data and everything built; .env stays
	@test ! -x "$$SANDBOX_COMMAND" || "$$SANDBOX_COMMAND" stop
	rm -rf $(VENVS) .meltano .sandbox .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis output site dist \
	  transform/target transform/logs transform/dbt_packages transform/.user.yml
	@find . -name .git -prune -o \( -name __pycache__ -o -name '*.egg-info' -o -name dist \) -type d -prune -exec rm -rf {} +
