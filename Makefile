# make results, make test, make help. The first target that needs .venv sets it up from envs/.
PYTHON ?= python3
# With a folder of wheels, test-gpu sets up an environment of its own without a network, on top of the machine's PyTorch.
WHEELS ?=
VENV ?= $(if $(WHEELS),.venv-gpu,.venv)
CONFIG ?= config.yaml
CORES ?= 2
# What a user gives is taken as it is, dollar signs too, and is one word of the shell wherever it is used.
override PYTHON := $(value PYTHON)
override CONFIG := $(value CONFIG)
override CORES := $(value CORES)
override PROFILE := $(value PROFILE)
override TESTS := $(value TESTS)
DEVICE ?= cuda
override DEVICE := $(value DEVICE)
override WHEELS := $(value WHEELS)
word_of = '$(subst ','\'',$(1))'
ifneq ($(words $(VENV)),1)
$(error VENV is '$(VENV)', but make knows no names with spaces: give another folder)
endif
BIN := $(VENV)/bin
# The package of this folder is used, also where the folder was moved or copied after .venv was set up.
export PYTHONPATH := $(value CURDIR)/workflow$(addprefix :,$(value PYTHONPATH))
# Most of what is installed is never imported: its bytecode is written at first use, whatever the environment says, since
# without it the start of each job takes twice as long.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(call word_of,$(PYTHON)) -m pip --disable-pip-version-check --python $(BIN)/python install --quiet --no-compile

# pip writes the absolute path of this folder. A relative one before it stays right where the folder is moved with its .venv.
RELATIVE := import os, sysconfig; at = sysconfig.get_paths()["purelib"]; \
  open(os.path.join(at, "0-scalinglaws.pth"), "w").write(os.path.relpath("workflow", at) + "\n")

.DEFAULT_GOAL := help
.PHONY: help install install-slurm results paper plan report explore test test-cluster test-browser test-gpu lint docs benchmark clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 20
	@echo '  variables: 'CONFIG=$(call word_of,$(CONFIG)) CORES=$(call word_of,$(CORES)) PYTHON=$(call word_of,$(PYTHON))

install: $(VENV)/installed ## set up .venv from envs/, again where this folder was moved
	@if [ -s $< ] && [ "$$(cat $<)" != "$$(pwd -P)" ]; then \
	  echo "this folder was $$(cat $<) when $(VENV) was set up: setting it up again"; rm -rf $(VENV); fi
	@[ -e $< ] || $(MAKE) $(VENV)/installed

$(VENV)/installed: envs/requirements.txt pyproject.toml
	@$(call word_of,$(PYTHON)) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: add PYTHON=…")'
	$(call word_of,$(PYTHON)) -m venv --without-pip $(VENV)
	@echo "installing envs/requirements.txt into $(VENV): some minutes"
	$(PIP) -r envs/requirements.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	@$(BIN)/python -c '$(RELATIVE)'
	@pwd -P > $@

$(VENV)/installed-dev: $(VENV)/installed envs/requirements-dev.txt
	$(PIP) -r envs/requirements-dev.txt
	@touch $@

$(VENV)/installed-slurm: $(VENV)/installed envs/requirements-slurm.txt
	$(PIP) -r envs/requirements-slurm.txt
	@touch $@

$(VENV)/installed-gpu: envs/requirements-gpu.txt
	$(call word_of,$(PYTHON)) -m venv --without-pip --system-site-packages $(VENV)
	$(PIP) --no-index --find-links $(call word_of,$(WHEELS)) -r envs/requirements-gpu.txt
	@touch $@

install-slurm: $(VENV)/installed-slurm ## set up .venv with what profiles/slurm needs as well

results: $(VENV)/installed ## run the study of CONFIG to figures, with progress; safe to stop and to run again
	$(BIN)/python -m scalinglaws run --configfile $(call word_of,$(CONFIG)) --cores $(call word_of,$(CORES))

paper: $(VENV)/installed ## run every experiment of the 2020 paper at this scale, with all figures and tables, in some 75 minutes on two cores; shares runs with results
	$(BIN)/python -m scalinglaws run --configfile workflow/studies/paper.yaml --cores $(call word_of,$(CORES))

plan: $(VENV)/installed ## show what CONFIG would train, what is there, what it takes on CORES, and what laws will have; PROFILE=profiles/slurm tells GPU hours
	$(BIN)/python -m scalinglaws plan --configfile $(call word_of,$(CONFIG)) --cores $(call word_of,$(CORES)) $(if $(PROFILE),--profile $(call word_of,$(PROFILE)))

report: $(VENV)/installed ## write results/studies/NAME/report.html, one page with figures and tables to send, for the study of CONFIG
	$(BIN)/python -m scalinglaws html --configfile $(call word_of,$(CONFIG))

explore: $(VENV)/installed ## write results/studies/NAME/explore.html, to look through the runs and fits of the study of CONFIG in a browser
	$(BIN)/python -m scalinglaws explore --configfile $(call word_of,$(CONFIG))

test: $(VENV)/installed-dev ## run every test, with a run of the real workflow on real text
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

test-cluster: $(VENV)/installed-slurm $(VENV)/installed-dev ## run the workflow on a real one-node Slurm, which is installed, started and stopped: on Debian, as root; TESTS=… chooses
	$(BIN)/python -m pytest tests/cluster $(if $(TESTS),-k $(call word_of,$(TESTS)))

test-browser: $(VENV)/installed-dev ## look at the pages in a headless Chromium, which is installed where it is missing: on Debian, as root
	@command -v chromium > /dev/null || { apt-get -o DPkg::Lock::Timeout=300 update --quiet && \
	  apt-get -o DPkg::Lock::Timeout=300 -y --quiet --no-install-recommends install chromium fonts-dejavu-core; }
	$(BIN)/python -m pytest tests/browser

test-gpu: $(if $(WHEELS),$(VENV)/installed-gpu,$(VENV)/installed-dev) ## check the code on a GPU (DEVICE=cpu: without one) against independent truths; WHEELS=FOLDER sets up offline, TESTS=… chooses
	$(BIN)/python -m pytest tests/gpu --verbose --device $(call word_of,$(DEVICE)) $(if $(TESTS),-k $(call word_of,$(TESTS)))

lint: $(VENV)/installed-dev $(VENV)/installed-slurm ## check with ruff, mypy (tests too), snakefmt and snakemake --lint
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/python -m mypy workflow/scalinglaws tests
	$(BIN)/python -m snakefmt --check Snakefile workflow/rules
	# Its only complaint is that rules name no conda environment: the workflow runs in the one that Snakemake runs in.
	! $(BIN)/python -m snakemake --lint 2>&1 | grep '^    \* ' | grep -v 'Specify a conda environment'

docs: $(VENV)/installed-dev ## build the documentation as a site in site/, where a page or a link that is missing is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

benchmark: $(VENV)/installed-dev ## measure the speed of a training step, of the fits and of the DAG; SMOKE=1 runs each at its smallest, in seconds
	for file in tests/benchmarks/*.py; do \
	  echo "$$file"; PYTHONPATH=workflow:tests $(BIN)/python $$file $(if $(SMOKE),--smoke) || exit 1; done

clean: ## delete .venv; results/ is yours to delete
	rm -rf $(VENV)
